/** The release, as `--version` prints it; a test holds it equal to package.json. */
export const VERSION = '0.1.0';

/** The protocol between agent and controller. N and N-1 work together (docs/operations.md). */
export const PROTOCOL = { major: 1, minor: 0 } as const;
