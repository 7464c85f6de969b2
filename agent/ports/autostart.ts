/** What xendomains starts when the host boots: on Xen, the links in /etc/xen/auto. */
export interface Autostart {
  /** Paths of cfg files that an entry leads to. A folder that does not exist is empty. @throws {AppError} `unavailable` */
  list(): Promise<ReadonlySet<string>>;

  /**
   * Durable on return. Repeating it changes nothing; every entry that leads to the file goes.
   *
   * @param cfgPath absolute
   * @throws {AppError} `already_exists` if something else has the entry's name, `unavailable`
   */
  set(cfgPath: string, isOn: boolean): Promise<void>;
}
