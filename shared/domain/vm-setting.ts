import { invalid } from '../errors.js';

/** One key of a VM's cfg, and what it is to be. */
export interface VmSetting {
  readonly key: string;
  /** Empty: the key is taken out. */
  readonly value: string;
}

/** What is domherd's to write, or makes a VM another one, and the verb that does it. */
const OWNED: ReadonlyMap<string, string> = new Map([
  ['name', 'domherd vm rename gives a VM another name'],
  ['uuid', 'it tells the VM from others; domherd vm clone makes another VM'],
  ['vif', 'domherd vm address writes address, MAC and bridge of its NICs'],
  ['disk', 'domherd vm create gives a VM its disks'],
]);

const MAX_VALUE = 4096;

/** @throws {AppError} `invalid` for what is no key, is owned by domherd, or cannot stand in a cfg */
export function checkSetting({ key, value }: VmSetting): VmSetting {
  if (!/^[a-z][._0-9a-z]{0,63}$/.test(key)) {
    throw invalid(`"${key}" is not a key of a cfg`, { key, hint: 'keys are lower case, as in on_reboot=restart' });
  }
  const hint = OWNED.get(key);
  if (hint !== undefined) throw invalid(`${key} is not set by vm set`, { key, hint });
  if (value.length > MAX_VALUE || !/^[\x20-\x7e]*$/.test(value)) {
    const limit = `${String(MAX_VALUE)} printable ASCII characters`;
    throw invalid(`the value of ${key} cannot stand in a cfg`, { key, hint: `at most ${limit}` });
  }
  return { key, value };
}

/** Reads KEY=VALUE; `undefined` if it is none. @throws {AppError} as {@link checkSetting} */
export function parseSetting(text: string): VmSetting | undefined {
  const [, key, value] = /^([A-Za-z_][\w.]*)=(.*)$/s.exec(text) ?? [];
  return key === undefined || value === undefined ? undefined : checkSetting({ key, value });
}
