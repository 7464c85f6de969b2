/** Who asks for a change, and whether he asked before. */
export interface Caller {
  /** "admin:<name>", "agent:<host>" or "controller"; stands in events. */
  readonly actor: string;
  /** Same id, same answer, for 24 h; `undefined`: not idempotent. */
  readonly requestId: string | undefined;
  /** Method and digest of the request without its id: an id that comes again with another one is refused. */
  readonly fingerprint: string;
}

/** The controller acting of its own accord: sweeps, observations. */
export const CONTROLLER: Caller = { actor: 'controller', requestId: undefined, fingerprint: '' };
