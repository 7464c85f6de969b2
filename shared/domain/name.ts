import { invalid } from '../errors.js';
import { parseIpv4 } from './ipv4.js';
import { printable } from './printable.js';

declare const brand: unique symbol;

/** A domU's name. Build with {@link parseVmName}. */
export type VmName = string & { readonly [brand]: 'VmName' };
/** A dom0's DNS name in lower case, or its IPv4 address. Build with {@link parseHostName}. */
export type HostName = string & { readonly [brand]: 'HostName' };
/** Build with {@link parseReservationName}. */
export type ReservationName = string & { readonly [brand]: 'ReservationName' };
/** Who a reservation belongs to: a login name or a mail address. Build with {@link parseOwnerName}. */
export type OwnerName = string & { readonly [brand]: 'OwnerName' };

// libxl makes file names of it, `qemu-dm-NAME.log.10` the longest, and `xl migrate` appends `--migratedaway`:
// 128 stays far below the 255 bytes of a file name.
const VM_NAME_MAX = 128;
const RESERVATION_NAME_MAX = 63;
const OWNER_NAME_MAX = 64;
const HOST_NAME_MAX = 253;
const LABEL_MAX = 63;

interface NameRule {
  readonly what: string;
  readonly max: number;
  readonly first: RegExp;
  readonly rest: RegExp;
  readonly allowed: string;
}

// Quotes, backslashes and glob or shell characters would need care in cfg files, log files and on command lines, `/` ends
// up in file names, `@` and `,` are how this program writes NAME@HOST and lists; a leading `-` looks like an option to xl.
const VM_RULE: NameRule = {
  what: 'VM name',
  max: VM_NAME_MAX,
  first: /[A-Za-z0-9_]/,
  rest: /[A-Za-z0-9._:=+~-]/,
  allowed: 'letters, digits and . _ : = + ~ - (the first a letter, digit or _)',
};

const RESERVATION_RULE: NameRule = {
  what: 'reservation name',
  max: RESERVATION_NAME_MAX,
  first: /[A-Za-z0-9_]/,
  rest: /[A-Za-z0-9._:+-]/,
  allowed: 'letters, digits and . _ : + - (the first a letter, digit or _)',
};

const OWNER_RULE: NameRule = {
  what: 'owner name',
  max: OWNER_NAME_MAX,
  first: /[A-Za-z0-9_]/,
  rest: /[A-Za-z0-9._+@-]/,
  allowed: 'letters, digits and . _ + @ - (the first a letter, digit or _)',
};

/**
 * A name that libxl, xl, xenstore and the file names made of it all take, and that NAME@HOST can hold.
 *
 * @throws {AppError} `invalid`, saying what is wrong at which character
 */
export function parseVmName(text: string): VmName {
  checkRule(text, VM_RULE);
  // libxl_domain_qualifier_to_domid() takes a name of digits for a domid: `xl destroy 7` would hit another domain.
  if (/^\d+$/.test(text)) throw invalid(`VM name "${text}" has only digits: xl takes that for a domid`, { name: text });
  if (text === 'Domain-0') throw invalid('VM name "Domain-0" is the name of dom0 itself', { name: text });
  return text as VmName;
}

/** @throws {AppError} `invalid`, saying what is wrong at which character */
export function parseReservationName(text: string): ReservationName {
  checkRule(text, RESERVATION_RULE);
  return text as ReservationName;
}

/** @throws {AppError} `invalid`, saying what is wrong at which character */
export function parseOwnerName(text: string): OwnerName {
  checkRule(text, OWNER_RULE);
  return text as OwnerName;
}

/**
 * RFC 1123 labels joined by dots, lower-cased; or an IPv4 address, which is what a last label of digits makes it.
 *
 * @throws {AppError} `invalid`, saying what is wrong at which character
 */
export function parseHostName(text: string): HostName {
  if (/(^|\.)\d+$/.test(text)) {
    parseIpv4(text);
    return text as HostName;
  }
  checkLength(text, 'host name', HOST_NAME_MAX);
  let start = 0;
  for (const label of text.split('.')) {
    checkLabel(text, label, start);
    start += label.length + 1;
  }
  return text.toLowerCase() as HostName;
}

function checkLabel(text: string, label: string, start: number): void {
  const bad = [...label].findIndex((char) => !/[A-Za-z0-9-]/.test(char));
  if (bad >= 0) throw badCharacter('host name', text, start + bad, 'letters, digits and - in labels joined by dots');
  const where = `host name "${printable(text)}": the label at character ${start + 1}`;
  if (label === '') throw invalid(`${where} is empty`, { name: text });
  if (label.length > LABEL_MAX) throw invalid(`${where} is longer than ${LABEL_MAX}`, { name: text });
  if (label.startsWith('-') || label.endsWith('-')) {
    throw invalid(`${where} starts or ends with a hyphen`, { name: text });
  }
}

function checkRule(text: string, rule: NameRule): void {
  checkLength(text, rule.what, rule.max);
  const bad = [...text].findIndex((char, at) => !(at === 0 ? rule.first : rule.rest).test(char));
  if (bad >= 0) throw badCharacter(rule.what, text, bad, rule.allowed);
}

function checkLength(text: string, what: string, max: number): void {
  if (text === '') throw invalid(`${what} is empty`);
  if (text.length > max) throw invalid(`${what} is ${text.length} characters long, more than ${max}`);
}

function badCharacter(what: string, text: string, at: number, allowed: string): Error {
  const char = printable([...text][at] ?? '');
  return invalid(`${what} "${printable(text)}" has "${char}" at character ${at + 1}`, {
    name: printable(text),
    position: `${at + 1}`,
    hint: `allowed are ${allowed}`,
  });
}

/** @throws {AppError} `invalid` for what a network device cannot be called, or a cfg cannot say */
export function parseBridgeName(text: string): string {
  if (/^[A-Za-z0-9_.-]{1,15}$/.test(text) && !/^\.{1,2}$/.test(text)) return text;
  throw invalid(`"${text}" is no name of a bridge`, { hint: 'such as br0, of at most 15 characters' });
}
