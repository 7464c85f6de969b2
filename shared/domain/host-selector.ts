import { notFound } from '../errors.js';
import { isGlob, isPattern, matchesGlob, PatternExpander } from './name-pattern.js';

const SHOWN = 5;

/**
 * The hosts that names and patterns mean, each once, in the order in which they were named. A pattern is of whole names or of
 * their first labels: `dom0-[1-20]`, `dom0-*`, `*.lille.grid5000.fr`. What is no pattern is handed on as it is, known or not.
 *
 * @param texts as a user wrote them
 * @param known names of hosts, in lower case
 * @throws {AppError} `invalid` for a malformed pattern or too many of them; `not_found` when one matches no host, or names some
 *   that there are not (details `missing`)
 */
export function selectHosts(texts: readonly string[], known: readonly string[]): readonly string[] {
  const patterns = new PatternExpander();
  const hosts = groupByName(known);
  const find = (name: string): readonly string[] =>
    isGlob(name)
      ? known.filter((host) => namesOf(host).some((each) => matchesGlob(name, each)))
      : (hosts.get(name) ?? []);
  const chosen = texts.flatMap((text) => {
    if (!isPattern(text)) return [text];
    const names = patterns.expand(text.toLowerCase());
    const found = names.map(find);
    const missing = names.filter((_, n) => found[n]?.length === 0);
    if (missing.length > 0) throw unmatched(text, names.length, missing);
    return found.flat();
  });
  return [...new Set(chosen)];
}

/** The whole name, and its first label. */
function namesOf(host: string): readonly string[] {
  const [label = ''] = host.split('.');
  return label === host ? [host] : [host, label];
}

function groupByName(known: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const hosts = new Map<string, string[]>();
  for (const host of known) for (const name of namesOf(host)) hosts.set(name, [...(hosts.get(name) ?? []), host]);
  return hosts;
}

function unmatched(pattern: string, count: number, missing: readonly string[]): Error {
  const shown = [...missing.slice(0, SHOWN), ...(missing.length > SHOWN ? ['...'] : [])].join(', ');
  const message =
    missing.length === count
      ? `host pattern "${pattern}" matches no host`
      : `host pattern "${pattern}": there is no host ${shown}`;
  return notFound(message, { host: pattern, missing: missing.slice(0, 50).join(' '), hint: 'see domherd host list' });
}
