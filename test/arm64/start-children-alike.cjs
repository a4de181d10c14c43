// A child started as `process.execPath` must be emulated too: the kernel of the host cannot start an arm64 program.
process.execPath = require('node:path').join(__dirname, 'node')
