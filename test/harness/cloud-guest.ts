import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { formatMac, type Mac } from '../../shared/domain/mac.js';

const [BOOT, INSTALL] = ['boot', 'install'].map((name) => join(process.cwd(), 'test/harness/cloud-guest', name)) as [
  string,
  string,
];
const CACHE = join(process.cwd(), 'node_modules/.cache/cloud-guest');
/** Half a minute and more, of which half is the download. */
const INSTALL_MS = 600_000;
/** It takes seconds. */
const BOOT_MS = 120_000;
const isRoot = process.getuid?.() === 0;
const hasMmdebstrap = spawnSync('mmdebstrap', ['--version']).error === undefined;

/** For tests that boot guests. */
export const NEEDS_CLOUD_GUEST = {
  skip: !isRoot ? 'needs root' : hasMmdebstrap ? false : 'needs mmdebstrap: apt-get install mmdebstrap',
};

/** What is up when a guest has booted. */
export interface BootedGuest {
  readonly hostname: string;
  /** Of eth0, with their prefix lengths; ifupdown has set them. */
  readonly addresses: readonly string[];
  readonly gateways: readonly string[];
}

/**
 * A Debian 12 with cloud-init, booted in namespaces of its own as far as cloud-init has a part in that: nothing of this machine
 * changes, nothing runs or is mounted between boots. cloud-init finds the seed as a disk, by its label.
 */
export class CloudGuest {
  readonly #folder: string;
  readonly #seed: string;

  /**
   * @param folder for what the guest writes; made when it is not there
   * @param seed an image, read at each boot
   */
  constructor(folder: string, seed: string) {
    this.#folder = folder;
    this.#seed = seed;
  }

  /** @throws with what the guest has said, if cloud-init does not run, or fails at anything */
  boot(mac: Mac): BootedGuest {
    const namespaces = ['--mount', '--uts', '--ipc', '--pid', '--net', '--fork', '--kill-child'];
    const out = execFileSync(
      'unshare',
      [...namespaces, 'bash', BOOT, installDebian(), this.#folder, this.#seed, formatMac(mac)],
      { stdio: ['ignore', 'pipe', 'pipe'], timeout: BOOT_MS, encoding: 'utf8' },
    );
    const [hostname = '', links = '', routes = ''] = out.trim().split('\n');
    return { hostname, addresses: parseAddresses(links), gateways: parseGateways(routes) };
  }

  /** @returns `undefined` if the guest has written no such file */
  read(path: string): string | undefined {
    const at = this.#path(path);
    return existsSync(at) ? readFileSync(at, 'utf8') : undefined;
  }

  write(path: string, text: string): void {
    mkdirSync(dirname(this.#path(path)), { recursive: true });
    writeFileSync(this.#path(path), text);
  }

  #path(path: string): string {
    return join(this.#folder, 'files', path);
  }
}

/** Debian from where the packages of this machine come from, installed once. @returns its root */
function installDebian(): string {
  // Whatever changes the script changes what is installed.
  const key = createHash('sha256').update(readFileSync(INSTALL)).digest('hex').slice(0, 16);
  const root = join(CACHE, key);
  if (existsSync(root)) return root;
  mkdirSync(CACHE, { recursive: true });
  const settings = join(CACHE, `apt.${String(process.pid)}.conf`);
  writeFileSync(settings, execFileSync('apt-config', ['dump', '--format', '%F "%v";%n', 'Acquire']));
  try {
    execFileSync('bash', [INSTALL, root, settings], { input: packageSources(), stdio: 'pipe', timeout: INSTALL_MS });
  } finally {
    rmSync(settings);
  }
  return root;
}

/** Debian's only. */
function packageSources(): string {
  const line = 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)';
  const read = (): string =>
    execFileSync('apt-get', ['indextargets', '--format', line, 'Created-By: Packages', 'Origin: Debian'], {
      encoding: 'utf8',
    });
  const found = read();
  if (found !== '') return found;
  // Whose they are is known when their lists are there.
  execFileSync('apt-get', ['update', '-qq'], { stdio: 'pipe' });
  return read();
}

/** @param text of `ip -j address` */
function parseAddresses(text: string): readonly string[] {
  const links = JSON.parse(text) as readonly { readonly addr_info: readonly { local: string; prefixlen: number }[] }[];
  return links.flatMap(({ addr_info }) => addr_info.map(({ local, prefixlen }) => `${local}/${String(prefixlen)}`));
}

/** @param text of `ip -j route` */
function parseGateways(text: string): readonly string[] {
  return (JSON.parse(text) as readonly { readonly gateway: string }[]).map(({ gateway }) => gateway);
}
