/** Files of dom0 that a cfg may name. */
export interface HostFiles {
  /** @throws {AppError} `unavailable` if it cannot be told */
  exists(path: string): Promise<boolean>;
}
