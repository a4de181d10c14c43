"""Quantizes models with onnxruntime.quantization: the peer that `npm run bench -- ptq` measures Edgefit against.

Reads a JSON list of jobs from standard input and prints one JSON line for each:

    {"model": "in.onnx", "samples": "samples.npz", "out": "out.onnx", "method": "minmax", "practice": "documented"}

method    minmax, entropy, percentile (static) or dynamic
practice  documented: preprocessed, one scale for each channel of the weights, and activations as the x64 or ARM kernels
          want them; defaults: nothing but the arguments that must be given

The time is that of the library's calls, without the start of Python and its imports; one thread. The peak of resident
memory is the process's own, so it is the job's for the first of a list alone.
"""

import json
import os
import platform
import resource
import sys
import tempfile
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy
import onnxruntime
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

make_options = onnxruntime.SessionOptions


def one_thread():
    options = make_options()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


# The library makes its own options and offers no way to pass threads.
onnxruntime.SessionOptions = one_thread


class Samples(quantization.CalibrationDataReader):
    def __init__(self, path):
        with numpy.load(path) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}
        self.count = len(next(iter(self.arrays.values())))
        self.next = 0

    def get_next(self):
        if self.next == self.count:
            return None
        row = slice(self.next, self.next + 1)
        self.next += 1
        return {name: values[row] for name, values in self.arrays.items()}


METHODS = {
    "minmax": quantization.CalibrationMethod.MinMax,
    "entropy": quantization.CalibrationMethod.Entropy,
    "percentile": quantization.CalibrationMethod.Percentile,
}
ACTIVATIONS = quantization.QuantType.QInt8 if platform.machine() == "aarch64" else quantization.QuantType.QUInt8


def quantize(job, scratch):
    documented = job["practice"] == "documented"
    source = job["model"]
    options = {}
    if documented:
        source = os.path.join(scratch, "preprocessed.onnx")
        quant_pre_process(job["model"], source)
        options["per_channel"] = True
    if job["method"] == "dynamic":
        quantization.quantize_dynamic(source, job["out"], weight_type=quantization.QuantType.QInt8, **options)
        return
    if documented:
        options["activation_type"] = ACTIVATIONS
    quantization.quantize_static(
        source,
        job["out"],
        Samples(job["samples"]),
        quant_format=quantization.QuantFormat.QDQ,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=METHODS[job["method"]],
        **options,
    )


def volunteer_for_out_of_memory_killer():
    # Its histograms keep every activation of every sample.
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")
    except OSError:
        pass


def peak_rss_bytes():
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    # Inherited from the process that forked where that was larger.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


volunteer_for_out_of_memory_killer()
for job in json.load(sys.stdin):
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        try:
            quantize(job, scratch)
            answer = {"wallMs": 1000 * (time.perf_counter() - started), "peakRssBytes": peak_rss_bytes()}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
