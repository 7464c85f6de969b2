/** What decides where a controller's files are. */
export interface Account {
  readonly uid: number;
  /** Home folder, absolute. */
  readonly home: string;
  readonly xdgDataHome: string | undefined;
  readonly xdgRuntimeDir: string | undefined;
}

/** sockaddr_un holds 108 bytes with its closing NUL (unix(7)). */
export const MAX_SOCKET_PATH_BYTES = 107;

const SYSTEM_DATA_DIR = '/var/lib/domherd';
const SYSTEM_SOCKET = '/run/domherd/controller.sock';
const SOCKET_NAME = 'controller.sock';

/** Where a controller of this account keeps its data: root's is the system service's. */
export function defaultDataDir(account: Account): string {
  if (account.uid === 0) return SYSTEM_DATA_DIR;
  return `${account.xdgDataHome || `${account.home}/.local/share`}/domherd`;
}

/** Where a controller of this account listens: the runtime folder when the login has one, else beside its data. */
export function defaultSocketPath(account: Account, dataDir: string = defaultDataDir(account)): string {
  if (account.uid === 0) return SYSTEM_SOCKET;
  if (account.xdgRuntimeDir) return `${account.xdgRuntimeDir}/domherd/${SOCKET_NAME}`;
  return `${dataDir}/run/${SOCKET_NAME}`;
}

/**
 * Where a client looks, best first: the account's own controller, then the system's. The own one may be in either of two
 * places, since a shell of cron or oarsub has no runtime folder where the login that started the controller had one.
 */
export function socketCandidates(account: Account): readonly string[] {
  const withoutRuntimeDir = defaultSocketPath({ ...account, xdgRuntimeDir: undefined });
  return [...new Set([defaultSocketPath(account), withoutRuntimeDir, SYSTEM_SOCKET])];
}
