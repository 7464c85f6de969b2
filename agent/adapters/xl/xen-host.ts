import { constants } from 'node:fs';
import { access, readFile, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { wrongState } from '../../../shared/errors.js';

/** What the toolstack needs of a dom0: absolute paths, found once. */
export interface XenHost {
  readonly xl: string;
  readonly xentop: string;
  /** `undefined` where systemd is not the init: nothing ends what the agent leaves behind then. */
  readonly systemdRun: string | undefined;
  readonly xenstoreSocket: string;
  /** Where libxl keeps the configurations of domains. */
  readonly libxlFolder: string;
  readonly backendFolder: string;
}

/** Where to look on this machine; a test has its own. */
export interface XenPlaces {
  readonly capabilities: string;
  /** Of commands, joined by colons. */
  readonly path: string;
  readonly systemdFolder: string;
  readonly xenstoreSocket: string;
  readonly libxlFolder: string;
  readonly backendFolder: string;
}

/** @param path of the environment: the usual folders of system commands are looked at besides */
export function usualPlaces(path: string): XenPlaces {
  return {
    capabilities: '/proc/xen/capabilities',
    path: ['/usr/sbin', '/usr/bin', '/sbin', '/bin', path].join(delimiter),
    systemdFolder: '/run/systemd/system',
    xenstoreSocket: '/run/xenstored/socket',
    libxlFolder: '/var/lib/xen',
    backendFolder: '/sys/bus/xen-backend/devices',
  };
}

const TRY_OUT = 'to try domherd out without Xen: --toolstack sim';

/** @throws {AppError} `wrong_state` if this is no dom0, or has no xl */
export async function findXenHost(places: XenPlaces): Promise<XenHost> {
  const capabilities = await readFile(places.capabilities, 'utf8').catch(() => undefined);
  if (!capabilities?.includes('control_d')) {
    const found = capabilities === undefined ? 'is not there' : 'does not say control_d';
    throw wrongState(`This machine is no Xen dom0: ${places.capabilities} ${found}`, {
      hint: `boot it with the Xen hypervisor and mount xenfs (systemctl start proc-xen.mount); ${TRY_OUT}`,
    });
  }
  const [xl, xentop] = [await findCommand('xl', places), await findCommand('xentop', places)];
  if (xl === undefined || xentop === undefined) {
    const name = xl === undefined ? 'xl' : 'xentop';
    throw wrongState(`This dom0 has no ${name}`, { hint: `apt-get install xen-utils-common xen-utils; ${TRY_OUT}` });
  }
  const hasSystemd = await stat(places.systemdFolder).then(
    () => true,
    () => false,
  );
  const systemdRun = hasSystemd ? await findCommand('systemd-run', places) : undefined;
  const { xenstoreSocket, libxlFolder, backendFolder } = places;
  return { xl, xentop, systemdRun, xenstoreSocket, libxlFolder, backendFolder };
}

async function findCommand(name: string, { path }: XenPlaces): Promise<string | undefined> {
  for (const folder of path.split(delimiter)) {
    if (!folder.startsWith('/')) continue;
    const file = join(folder, name);
    const isThere = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return file;
  }
  return undefined;
}
