// Invariants:
// - A spec is read by the rules of Xen's tools/libs/util/libxlu_disk_l.l, described in xl-disk-configuration(5):
//   prefixes (`file:`, deprecated), name=value, flags and positional parts (target, format, vdev, access) may mix.
// - `target=` takes the rest of the spec, commas included. A prefix makes the format no longer positional.
// - Never more permissive than xl, which refuses to create a domain with a disk that it cannot read.
import type { AppError } from '../../../shared/errors.js';
import { type Refuse, refuseIn } from './fault.js';

export type DiskFormat = 'raw' | 'qcow' | 'qcow2' | 'vhd' | 'qed' | 'empty';

export interface DiskSpec {
  /** A path in dom0, or what `script` takes; empty for a drive without a disc. */
  readonly target: string;
  /** The name in the domU, e.g. `xvda2`. */
  readonly vdev: string;
  readonly access: 'r' | 'w';
  readonly format: DiskFormat;
  readonly isCdrom: boolean;
  /** `phy`, `tap`, `qdisk` or `standalone`; `undefined` if libxl is to choose. */
  readonly backendType: string | undefined;
  /** The hotplug script; a prefix like `iscsi:` stands for `block-iscsi`. */
  readonly script: string | undefined;
}

const HINT = "write it as 'format=raw, vdev=xvda, access=rw, target=/path' (xl-disk-configuration(5))";

/** What the parts have said so far. */
interface Draft {
  target?: string;
  vdev?: string;
  script?: string;
  access: 'r' | 'w';
  format?: DiskFormat;
  backendType?: string;
  isCdrom: boolean;
  hasPrefix: boolean;
  hasPositionalAccess: boolean;
}

interface Reading {
  readonly text: string;
  readonly draft: Draft;
  /** Where the part begins that is being read. */
  at: number;
  readonly fail: (reason: string) => AppError;
}

const FORMATS: readonly DiskFormat[] = ['raw', 'qcow', 'qcow2', 'vhd', 'qed', 'empty'];
const BACKENDS: readonly string[] = ['phy', 'tap', 'qdisk', 'standalone'];

/** The first rule that matches reads the part; `text` is what its group caught. */
const RULES: readonly (readonly [RegExp, (reading: Reading, text: string) => void])[] = [
  [/(raw|qcow2?|vhd):/y, setPrefixFormat],
  [/(iscsi|e?nbd|drbd):/y, setPrefixScript],
  [/(?:tapdisk|tap2?|aio|ioemu|file|phy):/y, setPrefix],
  [/([a-z][a-z0-9]*:)(?![a-z0-9])/y, refusePart('is not a prefix that xl knows')],
  [/target=([^]*?),?$/y, (reading, text) => setOnce(reading, 'target', text)],
  [/vdev=([^,]*),?/y, (reading, text) => setOnce(reading, 'vdev', text)],
  [/script=([^,]*),?/y, (reading, text) => setOnce(reading, 'script', text)],
  [/format=([^,]*),?/y, setFormat],
  [/access=([^,]*),?/y, setAccess],
  [/backendtype=([^,]*),?/y, setBackendType],
  [/devtype=([^,]*),?/y, setDeviceType],
  [/(cdrom)(?:,|$)/y, setDeviceType],
  [/(?:direct-io-safe|discard|no-discard|colo|no-colo|trusted|untrusted|grant_usage=[01])(?:,|$)/y, () => undefined],
  [/(?:backend|colo-host|colo-export|active-disk|hidden-disk)=[^,]*,?/y, () => undefined],
  [/specification=(?:xen|virtio)(?:,|$)|colo-port=[+-]?0*[1-9][^,]*,?/y, () => undefined],
  [/([^=,]*=[^,]*)/y, refusePart('is not a setting that xl knows')],
  [/([^,]*),?/y, setPositional],
];

/**
 * @param refuse makes the error; the default counts columns in the spec
 * @throws {AppError} `invalid` with `line`, `column`, `reason` and `hint` for what xl would refuse
 */
export function parseDiskSpec(text: string, refuse: Refuse = refuseIn(text)): DiskSpec {
  const draft: Draft = { access: 'w', isCdrom: false, hasPrefix: false, hasPositionalAccess: false };
  const fail = (reason: string): AppError => refuse(reading.at, reason, HINT);
  const reading: Reading = { text, draft, at: 0, fail };
  for (skipBlanks(reading); reading.at < text.length; skipBlanks(reading)) readPart(reading);
  reading.at = 0;
  return finish(reading);
}

function readPart(reading: Reading): void {
  for (const [pattern, read] of RULES) {
    pattern.lastIndex = reading.at;
    const match = pattern.exec(reading.text);
    if (match === null) continue;
    read(reading, match[1] ?? '');
    reading.at += match[0].length;
    return;
  }
}

function finish({ draft, fail }: Reading): DiskSpec {
  const { target = '', vdev, format = 'raw', isCdrom, backendType, script } = draft;
  if (vdev === undefined) throw fail('the disk has no vdev');
  if (draft.target === undefined && !isCdrom) throw fail('the disk has no target');
  return {
    target,
    vdev,
    access: isCdrom ? 'r' : draft.access,
    format: isCdrom && target === '' ? 'empty' : format,
    isCdrom,
    backendType,
    script,
  };
}

function skipBlanks(reading: Reading): void {
  while (' \t\n'.includes(reading.text.charAt(reading.at) || '?')) reading.at += 1;
}

function setPositional(reading: Reading, text: string): void {
  const { draft } = reading;
  if (draft.target === undefined) {
    draft.target = text;
  } else if (!draft.hasPrefix && draft.format === undefined) {
    // An empty drive may leave its format out: ',hdc:cdrom,r'.
    if (draft.target === '' && text.includes(':')) {
      setVdev(reading, text);
      draft.format = 'empty';
    } else setFormat(reading, text);
  } else if (draft.vdev === undefined) {
    setVdev(reading, text);
  } else if (!draft.hasPositionalAccess) {
    draft.hasPositionalAccess = true;
    setAccess(reading, text);
  } else throw reading.fail(`"${text}" is one part too many`);
}

/** `hdc`, or with the type of the device `hdc:cdrom`. */
function setVdev(reading: Reading, text: string): void {
  const colon = text.lastIndexOf(':');
  setOnce(reading, 'vdev', colon < 0 ? text : text.slice(0, colon));
  if (colon >= 0) setDeviceType(reading, text.slice(colon + 1));
}

function setOnce(reading: Reading, key: 'target' | 'vdev' | 'script', text: string): void {
  if ((reading.draft[key] ?? '') !== '') throw reading.fail(`the disk has two of ${key}`);
  reading.draft[key] = text;
}

function setPrefix({ draft }: Reading): void {
  draft.hasPrefix = true;
}

function setPrefixFormat(reading: Reading, text: string): void {
  setPrefix(reading);
  setFormat(reading, text);
}

function setPrefixScript(reading: Reading, text: string): void {
  setPrefix(reading);
  setOnce(reading, 'script', `block-${text}`);
}

function setFormat(reading: Reading, text: string): void {
  const format = text === '' ? 'raw' : FORMATS.find((known) => known === text);
  if (format === undefined) throw reading.fail(`"${text}" is not a disk format`);
  if ((reading.draft.format ?? format) !== format) throw reading.fail('the disk has two formats');
  reading.draft.format = format;
}

function setAccess(reading: Reading, text: string): void {
  if (!/^(r|ro|rw|w|)$/.test(text)) throw reading.fail(`"${text}" is not an access mode`);
  reading.draft.access = text === 'r' || text === 'ro' ? 'r' : 'w';
}

function setBackendType(reading: Reading, text: string): void {
  if (!BACKENDS.includes(text)) throw reading.fail(`"${text}" is not a backend type`);
  if ((reading.draft.backendType ?? text) !== text) throw reading.fail('the disk has two backend types');
  reading.draft.backendType = text;
}

function setDeviceType(reading: Reading, text: string): void {
  if (text !== 'cdrom' && text !== 'disk') throw reading.fail(`"${text}" is not a device type`);
  reading.draft.isCdrom = text === 'cdrom';
}

function refusePart(reason: string): (reading: Reading, text: string) => void {
  return (reading, text) => {
    throw reading.fail(`"${text}" ${reason}`);
  };
}
