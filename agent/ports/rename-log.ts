/** That a VM is being given another name. */
export interface Renaming {
  /** Paths of its cfg. */
  readonly from: string;
  readonly to: string;
  readonly name: string;
  /** The host started it at boot. */
  readonly isAutostarted: boolean;
}

/** The renamings that are under way, at most one a cfg; they outlive the process, whatever ends it. */
export interface RenameLog {
  /** @throws {AppError} `unavailable`, `wrong_state` (damaged) */
  list(): Promise<readonly Renaming[]>;

  /** By the path that the cfg had. @throws {AppError} as {@link list} */
  find(from: string): Promise<Renaming | undefined>;

  /** Durable on return. @throws {AppError} `unavailable` */
  begin(renaming: Renaming): Promise<void>;

  /** Durable on return. One that is not there has ended. @throws {AppError} `unavailable` */
  end(from: string): Promise<void>;
}
