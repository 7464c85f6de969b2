/** What `domherd-agent status` tells of the last run. Times are milliseconds since 1970. */
export interface AgentStatus {
  readonly version: string;
  readonly isSimulated: boolean;
  readonly pid: number;
  readonly startedAtMs: number;
  readonly session:
    | { readonly kind: 'open'; readonly address: string; readonly sinceMs: number; readonly controllerVersion: string }
    | { readonly kind: 'closed'; readonly sinceMs: number; readonly reason: string };
}

/** Small facts about the agent itself that outlive it. */
export interface AgentRecord {
  /** The number of the session that is about to begin: one more than ever before. Durable on return. 1 up. */
  nextSessionCounter(): Promise<number>;

  /** Best effort: a full disk must not end a session. */
  writeStatus(status: AgentStatus): Promise<void>;
  readStatus(): Promise<AgentStatus | undefined>;
}
