import { wrongState } from '../../../shared/errors.js';

interface AptSource {
  readonly uri: string;
  readonly suites: readonly string[];
}

/**
 * Where a distribution is to be had, of the sources of apt(8): the one that has it, else the first one, whose mirror has others
 * too.
 *
 * @param files the texts of sources.list(5), in both of its forms
 * @throws {AppError} `wrong_state` if there is none
 */
export function aptMirror(files: readonly string[], dist: string): string {
  const sources = files.flatMap(parseSources).filter(({ uri, suites }) => {
    // Updates of security alone are no distribution; apt has other ways to a mirror that the installer has not.
    return /^(https?|file):/.test(uri) && suites.some((suite) => !/[-/](security|updates|backports)/.test(suite));
  });
  const found = sources.find(({ suites }) => suites.includes(dist)) ?? sources[0];
  if (found !== undefined) return found.uri;
  throw wrongState('The host has no source of packages to install from', {
    hint: 'name one: --mirror URL; or --tarball FILE, a file of the host',
  });
}

function parseSources(text: string): readonly AptSource[] {
  return /^(Types|URIs):/im.test(text) ? parseParagraphs(text) : text.split('\n').flatMap(parseLine);
}

function parseLine(line: string): readonly AptSource[] {
  const [, uri, suite] = /^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)/.exec(line) ?? [];
  return uri === undefined || suite === undefined ? [] : [{ uri, suites: [suite] }];
}

function parseParagraphs(text: string): readonly AptSource[] {
  const paragraphs = text.replace(/^#.*\n?/gm, '').split(/\n\s*\n/);
  return paragraphs.flatMap((paragraph) => {
    const words = (key: string): readonly string[] => {
      // A value goes on in lines that begin with a blank.
      const value = new RegExp(`^${key}:((?:.*)(?:\\n[ \\t].*)*)`, 'im').exec(paragraph)?.[1] ?? '';
      return value.split(/\s+/).filter((word) => word !== '');
    };
    if (!words('Types').includes('deb') || words('Enabled').includes('no')) return [];
    return words('URIs').map((uri) => ({ uri, suites: words('Suites') }));
  });
}
