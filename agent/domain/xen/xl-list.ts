import { AppError } from '../../../shared/errors.js';

/** One domain of `xl list -v`. */
export interface XlListRow {
  readonly domid: number;
  readonly name: string;
  readonly uuid: string;
  readonly memoryMib: number;
  readonly vcpus: number;
  /** Of r (running), b (blocked), p (paused), s (shut down), c (crashed), d (dying): those that are set. */
  readonly flags: string;
}

/** What xl prints for a domain that died and whose last pages somebody holds. */
const NO_NAME = '(null)';

const ROW =
  /^(.*\S) +(\d+) +(\d+) +(\d+) +([r-][b-][p-][s-][c-][d-]) +\d+\.\d +([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}) +\S+ +\S.*$/;

/**
 * Domain-0 is among them; domains without a name are not.
 *
 * @throws {AppError} `unavailable` for what is no such list: then it is not known what runs
 */
export function parseXlList(text: string): readonly XlListRow[] {
  const [header, ...lines] = text.split('\n').filter((line) => line.trim() !== '');
  if (header === undefined || !/^Name +ID +Mem VCPUs\tState\tTime\(s\) +UUID/.test(header)) throw garbled(header ?? '');
  return lines.map(parseRow).filter(({ name }) => name !== NO_NAME);
}

// From the right: a name may hold blanks, and one of over 40 characters moves the columns.
function parseRow(line: string): XlListRow {
  const [, name, domid, memoryMib, vcpus, flags, uuid] = ROW.exec(line) ?? [];
  if (name === undefined || flags === undefined || uuid === undefined) throw garbled(line);
  const numbers = { domid: Number(domid), memoryMib: Number(memoryMib), vcpus: Number(vcpus) };
  return { ...numbers, name, uuid, flags: flags.replaceAll('-', '') };
}

function garbled(line: string): AppError {
  return new AppError('unavailable', 'xl list does not say what it should', { output: line.slice(0, 200) });
}
