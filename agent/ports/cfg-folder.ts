/** The bytes of a cfg file, one character each (latin1), so that any encoding survives. */
export type CfgText = string;

export type CfgFile =
  | { readonly kind: 'text'; readonly path: string; readonly text: CfgText }
  /** There, but not to be read: a link that leaves the folder, over 1 MiB, no permission. `problem` is for people. */
  | { readonly kind: 'unreadable'; readonly path: string; readonly problem: string };

/** The folder of the domUs' cfg files, on Xen /etc/xen. */
export interface CfgFolder {
  /** Absolute. */
  readonly path: string;

  /** All `*.cfg` files, by path, absolute. A folder that does not exist is empty. @throws {AppError} `unavailable` */
  list(): Promise<readonly CfgFile[]>;

  /**
   * The same for whoever only tells of them, often: a file that is as it was by its stat is not read again. What acts on a
   * file reads it. @throws {AppError} `unavailable`
   *
   * @returns for a file that is as it was by its bytes, the same object as the last time
   */
  survey(): Promise<readonly CfgFile[]>;

  /**
   * @param path one that {@link list} gave
   * @throws {AppError} `not_found`, `wrong_state` (unreadable), `invalid` (outside the folder), `unavailable`
   */
  read(path: string): Promise<CfgText>;

  /**
   * Replaces the whole file: whoever reads it sees the old bytes or the new ones, and after the return only the new ones,
   * even after a power cut. Mode and owner stay; the bytes before are kept as a backup. Repeating it is `raced`.
   *
   * @param before what the caller read and based `after` on
   * @throws {AppError} `raced` if the file is not `before` any more; `not_found`, `invalid`, `unavailable` (disk full, ...)
   */
  replace(path: string, before: CfgText, after: CfgText): Promise<void>;

  /**
   * Makes a new file, whole at any time and durable on return.
   *
   * @param path in the folder, ends in `.cfg`
   * @throws {AppError} `already_exists`, `invalid` (outside the folder), `unavailable`
   */
  add(path: string, text: CfgText): Promise<void>;

  /**
   * Takes a file away, durable on return; one that is not there is gone.
   *
   * @throws {AppError} `raced` if it is not `before`; `invalid` (outside the folder), `unavailable`
   */
  remove(path: string, before: CfgText): Promise<void>;

  /**
   * Gives a file another name in one step, durable on return. Repeating it changes nothing.
   *
   * @throws {AppError} `already_exists` if both are there, `not_found` if neither is; `invalid` (outside the folder), `unavailable`
   */
  move(from: string, to: string): Promise<void>;

  /** Calls `onChange` after files may have changed. @returns ends the watch; idempotent */
  watch(onChange: () => void): () => void;
}
