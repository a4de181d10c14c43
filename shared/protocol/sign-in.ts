/**
 * How one signs in at the broker. A device uses its id as client id and user name and a device token as password;
 * one that is not enrolled yet uses the names below and the join token's secret.
 */
export const CANDIDATE_USER = 'enrol'
/** Holds a character no device id has, so that it never takes over a device's connection. */
export const CANDIDATE_CLIENT_PREFIX = 'enrol:'
