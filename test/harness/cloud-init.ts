import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const HARNESS = join(process.cwd(), 'test/harness/cloud-init.py');
const CACHE = join(process.cwd(), 'node_modules/.cache/cloud-init');
/** Debian's cloud-init, and what it imports. */
const PACKAGES = [
  ...['cloud-init', 'python3-configobj', 'python3-six', 'python3-jinja2', 'python3-markupsafe', 'python3-jsonpatch'],
  ...['python3-json-pointer', 'python3-jsonschema', 'python3-attr', 'python3-pyrsistent', 'python3-oauthlib'],
  ...['python3-requests', 'python3-urllib3', 'python3-idna', 'python3-chardet', 'python3-certifi', 'python3-yaml'],
  ...['python3-serial', 'python3-netifaces'],
];

/** What cloud-init makes of a seed. */
export interface CloudView {
  readonly instanceId: string;
  readonly hostname: string;
  readonly keys: readonly string[];
  readonly userData: string;
  readonly vendorData: string;
  /** By path in the guest. */
  readonly files: Readonly<Record<string, string>>;
}

/** Unpacks Debian's packages into a folder, once; nothing is installed. @returns the folder for PYTHONPATH */
function unpackCloudInit(): string {
  const root = join(CACHE, 'root');
  const modules = join(root, 'usr/lib/python3/dist-packages');
  if (existsSync(root)) return modules;
  const draft = join(CACHE, 'draft');
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true });
  const download = (): Buffer =>
    execFileSync('apt-get', ['download', '-qq', '-o', 'APT::Sandbox::User=root', ...PACKAGES], {
      cwd: draft,
      stdio: 'pipe',
    });
  try {
    download();
  } catch {
    execFileSync('apt-get', ['update', '-qq'], { stdio: 'pipe' });
    download();
  }
  for (const deb of readdirSync(draft).filter((name) => name.endsWith('.deb'))) {
    execFileSync('dpkg-deb', ['-x', join(draft, deb), join(draft, 'root')]);
  }
  renameSync(join(draft, 'root'), root);
  rmSync(draft, { recursive: true });
  return modules;
}

/**
 * Has Debian's own cloud-init read a seed, and write the network of its guest.
 *
 * @param seed an image; its files are taken out by mcopy
 * @param work an empty folder
 */
export function readByCloudInit(seed: string, work: string, renderer: 'eni' | 'netplan'): CloudView {
  const modules = unpackCloudInit();
  const [folder, run] = [join(work, 'seed'), join(work, 'run')];
  for (const each of [folder, run]) mkdirSync(each, { recursive: true });
  execFileSync('mcopy', ['-n', '-i', seed, '::*', folder], { stdio: 'pipe' });
  // -S: only Debian's modules, whatever this machine has.
  const out = execFileSync('python3', ['-S', HARNESS, folder, run, renderer], {
    env: { ...process.env, PYTHONPATH: modules },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return JSON.parse(out.toString()) as CloudView;
}
