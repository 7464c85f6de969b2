/** What xendomains is told by /etc/default/xendomains (or /etc/sysconfig/xendomains), where the boot step cares. */
export interface XendomainsSettings {
  readonly autoDir: string;
  /** `undefined`: it saves nothing at shutdown and restores nothing. */
  readonly saveDir: string | undefined;
}

const DEFAULT_AUTO = '/etc/xen/auto';
const DEFAULT_SAVE = '/var/lib/xen/save';

/** @param text what the file holds: assignments of the shell. What is not plain text in them counts as not said. */
export function parseXendomains(text: string): XendomainsSettings {
  const save = lastValue(text, 'XENDOMAINS_SAVE') ?? DEFAULT_SAVE;
  return { autoDir: lastValue(text, 'XENDOMAINS_AUTO') || DEFAULT_AUTO, saveDir: save === '' ? undefined : save };
}

function lastValue(text: string, name: string): string | undefined {
  const pattern = new RegExp(`^[ \\t]*(?:export[ \\t]+)?${name}=(?:"([^"]*)"|'([^']*)'|([^\\s#;'"]*))`, 'gm');
  const match = [...text.matchAll(pattern)].at(-1);
  const value = match?.[1] ?? match?.[2] ?? match?.[3];
  // An empty one is an answer; one with a variable in it, or that is no absolute path, is none.
  return value === undefined || value === '' || /^\/[^$`]*$/.test(value) ? value : undefined;
}
