/** The keys that let people, and hosts, log in to dom0 as root. */
export interface AuthorizedKeys {
  /**
   * Whole at any time, with the mode and owner that it has; nothing is written if nothing changes.
   *
   * @param change from its lines to others
   * @throws {AppError} `unavailable`
   */
  edit(change: (lines: readonly string[]) => readonly string[]): Promise<void>;
}
