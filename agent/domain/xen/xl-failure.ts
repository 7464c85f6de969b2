import { AppError, invalid, notFound, wrongState } from '../../../shared/errors.js';

interface Cause {
  readonly sign: RegExp;
  readonly hint: string;
}

/** What people meet most; all else is told in xl's own words. */
const CAUSES: readonly Cause[] = [
  {
    sign: /can't allocate low memory|Cannot allocate memory|not enough (?:free )?memory|Out of memory/i,
    hint: 'the host has too little free memory for it: domherd host show tells how much; lower memory= or stop another VM',
  },
  { sign: /failed to stat/i, hint: 'a disk of the cfg is not where it says: see the path in the output' },
  {
    sign: /async_exec_timeout/,
    hint: 'the host is too busy: libxl gives up on a script that takes 40 s; try again with less at once',
  },
  { sign: /Could not find bridge/i, hint: 'the cfg names a bridge that this host has not' },
];

/** Why `xl create` failed, of what it printed. @param output the last 2,000 characters of it */
export function createFailure(name: string, cfgPath: string, output: string): AppError {
  const details = { name, path: cfgPath, output };
  if (/Domain with name ".*" already exists/.test(output)) {
    return new AppError('already_exists', `A domain ${name} exists already`, details);
  }
  if (/Failed to read config file: .*: No such file/.test(output))
    return notFound(`There is no file ${cfgPath}`, details);
  if (/config parsing error|Failed to parse config/.test(output)) return invalid(`xl refuses ${cfgPath}`, details);
  if (/Failed to (?:connect to bus|start transient scope)/i.test(output)) {
    const hint = 'systemd did not answer: systemctl is-system-running';
    return new AppError('unavailable', `${name} could not be created: no scope for it`, { ...details, hint });
  }
  const cause = CAUSES.find(({ sign }) => sign.test(output));
  const hint = cause?.hint ?? 'what xl said is in the output; more is in /var/log/xen on the host';
  return wrongState(`${name} could not be created`, { ...details, hint });
}
