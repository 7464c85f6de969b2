const OCTETS = 6;

/** Whether xl reads all six octets of it. Lenient, as xl is: one digit will do, and any character between two octets. */
export function isReadableMac(text: string): boolean {
  return readOctets(text).length === OCTETS;
}

/** A place holder like `00:16:3E:xx:xx:xx`: six pairs, in some of which `x`, `?`, `*` or `_` stands for a digit. */
export function isTemplateMac(text: string): boolean {
  return /^[\da-fx?*_]{2}([:-][\da-fx?*_]{2}){5}$/i.test(text) && !isReadableMac(text);
}

/**
 * The MAC that a domain really gets, lower case with colons. xl warns of a template, keeps the octets before the first
 * place holder and lets the rest be 0: every domU made from `00:16:3E:xx:xx:xx` is 00:16:3e:00:00:00.
 *
 * @returns `undefined` when all octets are 0: libxl then invents one at each create
 */
export function macAsXlReads(text: string): string | undefined {
  const octets = Array.from({ length: OCTETS }, (_, n) => readOctets(text)[n] ?? 0);
  if (octets.every((octet) => octet === 0)) return undefined;
  return octets.map((octet) => octet.toString(16).padStart(2, '0')).join(':');
}

// parse_nic_config calls strtoul(.., 16) and steps over one character, six times.
function readOctets(text: string): readonly number[] {
  const octets: number[] = [];
  let rest = text;
  while (octets.length < OCTETS) {
    const match = /^[ \t]*(?:0x(?=[\da-f]))?([\da-f]+)/i.exec(rest);
    const octet = Number.parseInt(match?.[1] ?? '', 16);
    if (match === null || !(octet <= 0xff)) break;
    octets.push(octet);
    rest = rest.slice(match[0].length + 1);
  }
  return octets;
}
