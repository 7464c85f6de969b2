import type { HostStore } from '../../shared/domain/host-store.js';

export interface Mount {
  readonly path: string;
  readonly type: string;
}

/** What /proc/self/mountinfo says, in its order: a later one of the same path hides an earlier one. See proc_pid_mountinfo(5). */
export function parseMountinfo(text: string): readonly Mount[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const path = before.split(' ')[4];
    const [type] = after.split(' ');
    return path === undefined || !type ? [] : [{ path: unescape(path), type }];
  });
}

/** The one that a path is on; `undefined` only if there is no root. */
export function mountOf(path: string, mounts: readonly Mount[]): Mount | undefined {
  const holds = (mount: string): boolean => mount === '/' || path === mount || path.startsWith(`${mount}/`);
  const found = mounts.filter((mount) => holds(mount.path));
  const longest = Math.max(...found.map((mount) => mount.path.length));
  return found.findLast((mount) => mount.path.length === longest);
}

const TMP = '/tmp';

/** The name of the store that a file is in: its mount point, but for what of the root file system is not recorded. */
export function storeNameOf(path: string, mount: string): string {
  return mount === '/' && (path === TMP || path.startsWith(`${TMP}/`)) ? TMP : mount;
}

/** Whether recording the deployed environment (kadeploy's tgz-g5k) keeps what is in a store, and why. */
export function recordingOf(kind: HostStore['kind'], name: string): Pick<HostStore, 'isRecorded' | 'recordedReason'> {
  if (kind !== 'file-system')
    return { isRecorded: false, recordedReason: 'an environment is recorded as files, without volumes' };
  if (name === '/') return { isRecorded: true, recordedReason: 'it is the root file system, without /tmp' };
  if (name === TMP) return { isRecorded: false, recordedReason: '/tmp is left out' };
  return { isRecorded: false, recordedReason: 'the root file system alone is recorded' };
}

const STEP_BYTES = 16 * 1024 * 1024;

/** What is free counts down to the step below, what is used up to the one above. */
export function stepDown(bytes: number): number {
  return Math.floor(bytes / STEP_BYTES) * STEP_BYTES;
}

export function stepUp(bytes: number): number {
  return Math.ceil(bytes / STEP_BYTES) * STEP_BYTES;
}

/** The kernel writes blanks and the like in octal. */
function unescape(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
