// The editor of /etc/network/interfaces (interfaces(5)).
//
// Invariants:
// - formatInterfaces(parseInterfaces(x)) === x.
// - An edit touches the lines of one stanza; comments in it stay, every other byte of the file stays.
import { formatIpv4, parseIpv4, type Ipv4 } from '../../../shared/domain/ipv4.js';

/** A line with those that a backslash joins to it, line ends included. */
export interface InterfacesLine {
  readonly raw: string;
  /** Words of the joined line; empty for a comment or a blank line. */
  readonly words: readonly string[];
}

/** A stanza and all lines up to the next. The first part of a file may be without a head: comments. */
export interface InterfacesPart {
  readonly head: InterfacesLine | undefined;
  readonly body: readonly InterfacesLine[];
}

export interface InterfacesFile {
  readonly parts: readonly InterfacesPart[];
}

/** What one static stanza says. */
export interface StaticInterface {
  readonly name: string;
  readonly address: Ipv4;
  readonly prefixLength: number;
  readonly broadcast: Ipv4;
  /** `undefined`: no default route by it. */
  readonly gateway: Ipv4 | undefined;
  readonly dns: readonly Ipv4[];
  /** Empty: none. */
  readonly domain: string;
}

const HEADS = /^(iface|auto|allow-.+|mapping|source|source-directory|rename|no-auto-down|no-scripts|template)$/;

/** What an address brought with it, and goes with it. A MAC in here would override that of the cfg. */
const OF_ADDRESS = new Set(
  'address netmask broadcast network gateway pointopoint hwaddress scope dns-nameserver dns-nameservers dns-search dns-domain'.split(
    ' ',
  ),
);
const OF_DHCP = new Set('hostname metric leasehours leasetime vendor client request-timeout'.split(' '));

export function parseInterfaces(text: string): InterfacesFile {
  const parts: InterfacesPart[] = [];
  for (const line of splitLines(text)) {
    const last = parts.at(-1);
    const isHead = HEADS.test(line.words[0] ?? '');
    if (isHead || last === undefined) parts.push(isHead ? { head: line, body: [] } : { head: undefined, body: [line] });
    else parts[parts.length - 1] = { ...last, body: [...last.body, line] };
  }
  return { parts };
}

export function formatInterfaces({ parts }: InterfacesFile): string {
  return parts.flatMap(({ head, body }) => [head, ...body].map((line) => line?.raw ?? '')).join('');
}

/** Names of the stanzas of IPv4 or IPv6, each once, in file order. */
export function interfaceNames(file: InterfacesFile): readonly string[] {
  const names = file.parts.flatMap(({ head }) => (head?.words[0] === 'iface' ? [head.words[1] ?? ''] : []));
  return [...new Set(names)];
}

/** `inet` stanzas of that name, by their method: `static`, `dhcp`, `manual`, ... */
export function inetMethods(file: InterfacesFile, name: string): readonly string[] {
  return file.parts.filter(isInetOf(name)).map(({ head }) => head?.words[3] ?? '');
}

/** The patterns that the file includes, as written. */
export function sourcesOf(file: InterfacesFile): readonly string[] {
  return file.parts.flatMap(({ head }) => {
    const [word, ...patterns] = head?.words ?? [];
    if (word === 'source') return patterns;
    return word === 'source-directory' ? patterns.map((pattern) => `${pattern}/*`) : [];
  });
}

/** The address of the first static `inet` stanza of that name. */
export function staticAddress(file: InterfacesFile, name: string): Ipv4 | undefined {
  for (const part of file.parts.filter(isInetOf(name))) {
    if (part.head?.words[3] !== 'static') continue;
    const value = part.body.find(({ words }) => words[0] === 'address')?.words[1]?.split('/')[0];
    const address = value === undefined ? undefined : parsedAddress(value);
    if (address !== undefined) return address;
  }
  return undefined;
}

/** Rewrites the first `inet` stanza of that name, or adds one. Doing it again changes nothing. */
export function setStaticInterface(file: InterfacesFile, want: StaticInterface): InterfacesFile {
  const at = file.parts.findIndex(isInetOf(want.name));
  const part = file.parts[at];
  if (part === undefined) return parseInterfaces(withNewStanza(formatInterfaces(file), want));
  return { parts: file.parts.with(at, rewritten(part, want)) };
}

/** Adds `auto NAME` before the stanza if nothing brings it up at boot. */
export function ensureAuto(file: InterfacesFile, name: string): InterfacesFile {
  const isUp = file.parts.some(
    ({ head }) =>
      /^(auto|allow-auto|allow-hotplug)$/.test(head?.words[0] ?? '') && head?.words.includes(name, 1) === true,
  );
  if (isUp) return file;
  const at = file.parts.findIndex(isInetOf(name));
  const auto: InterfacesPart = { head: lineOf(`auto ${name}\n`), body: [] };
  return { parts: file.parts.toSpliced(at < 0 ? file.parts.length : at, 0, auto) };
}

function rewritten({ head, body }: InterfacesPart, want: StaticInterface): InterfacesPart {
  const wasDhcp = head?.words[3] !== 'static';
  const goes = (word: string | undefined): boolean =>
    word !== undefined && (OF_ADDRESS.has(word) || (wasDhcp && OF_DHCP.has(word)));
  const kept = body.filter(({ words }) => !goes(words[0]));
  const indent = /^[ \t]+/.exec(body.find(({ words }) => words.length > 0)?.raw ?? '')?.[0] ?? '    ';
  const end = head?.raw.endsWith('\r\n') ? '\r\n' : '\n';
  const lines = optionsOf(want).map((option) => lineOf(`${indent}${option}${end}`));
  const inherits = (head?.words ?? []).slice(4).map((word) => ` ${word}`);
  const fresh = lineOf(`iface ${want.name} inet static${inherits.join('')}${end}`);
  return { head: wasDhcp ? fresh : endedBy(head, end), body: [...lines, ...kept] };
}

function endedBy(line: InterfacesLine, end: string): InterfacesLine {
  return line.raw.endsWith('\n') ? line : lineOf(`${line.raw}${end}`);
}

function withNewStanza(text: string, want: StaticInterface): string {
  const before = text === '' || text.endsWith('\n') ? text : `${text}\n`;
  const gap = before === '' || before.endsWith('\n\n') ? '' : '\n';
  const options = optionsOf(want).map((option) => `    ${option}\n`);
  return `${before}${gap}iface ${want.name} inet static\n${options.join('')}`;
}

// The old way of a netmask of its own: every ifupdown reads it, the oldest guests no prefix.
function optionsOf(want: StaticInterface): readonly string[] {
  const netmask = parseIpv4(formatMask(want.prefixLength));
  return [
    `address ${formatIpv4(want.address)}`,
    `netmask ${formatIpv4(netmask)}`,
    `broadcast ${formatIpv4(want.broadcast)}`,
    ...(want.gateway === undefined ? [] : [`gateway ${formatIpv4(want.gateway)}`]),
    ...(want.dns.length === 0 ? [] : [`dns-nameservers ${want.dns.map(formatIpv4).join(' ')}`]),
    ...(want.domain === '' ? [] : [`dns-search ${want.domain}`]),
  ];
}

function formatMask(prefixLength: number): string {
  const mask = 2 ** 32 - 2 ** (32 - prefixLength);
  return [24, 16, 8, 0].map((shift) => Math.floor(mask / 2 ** shift) % 256).join('.');
}

function isInetOf(name: string): (part: InterfacesPart) => boolean {
  return ({ head }) => head?.words[0] === 'iface' && head.words[1] === name && head.words[2] === 'inet';
}

function parsedAddress(text: string): Ipv4 | undefined {
  try {
    return parseIpv4(text);
  } catch {
    return undefined;
  }
}

function splitLines(text: string): readonly InterfacesLine[] {
  const lines: InterfacesLine[] = [];
  let open = '';
  for (const raw of text.match(/[^\n]*\n|[^\n]+$/g) ?? []) {
    open += raw;
    // A comment is not continued.
    if (/\\\r?\n$/.test(raw) && !/^\s*#/.test(open)) continue;
    lines.push(lineOf(open));
    open = '';
  }
  if (open !== '') lines.push(lineOf(open));
  return lines;
}

function lineOf(raw: string): InterfacesLine {
  const joined = raw.replace(/\\\r?\n/g, ' ').trim();
  return { raw, words: joined === '' || joined.startsWith('#') ? [] : joined.split(/\s+/) };
}
