/** A VM that another host was let send here. */
export interface Arrival {
  readonly cfgPath: string;
  readonly migrationId: string;
  readonly name: string;
  /** As it was written here for it. */
  readonly cfgText: string;
  readonly hasCome: boolean;
}

/** The last one of each cfg path; durable. */
export interface Arrivals {
  /** @throws {AppError} `unavailable`, `wrong_state` (it cannot be read) */
  find(cfgPath: string): Promise<Arrival | undefined>;

  /** @throws {AppError} `unavailable` */
  put(arrival: Arrival): Promise<void>;

  /** @throws {AppError} `unavailable` */
  remove(cfgPath: string): Promise<void>;
}
