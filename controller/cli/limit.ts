/** The controller answers in milliseconds; a loaded machine gets more. */
export const CALL = { timeoutMs: 30_000 };
/** An import of a whole /14 as single addresses, or 4,096 leases at once. */
export const LONG_CALL = { timeoutMs: 120_000 };
