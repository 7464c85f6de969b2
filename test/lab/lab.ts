// The lab: two real Xen dom0s, emulated by QEMU, on a site's network of their own. For groups of the suite:
//
//   lab.ssh('dom0-1', ['xl', 'list'])         as root on a dom0; an answer {exitCode, stdout, stderr}, it does not throw
//   lab.must('dom0-1', 'xl list | wc -l')     a shell line on a dom0; stdout; throws when it fails
//   lab.frontend.run(['ping', '-c1', ip])     as the user on the frontend; `ssh dom0-1` works there as it is
//   lab.frontend.domherd(['vm', 'list'])      the built CLI there
//   lab.frontend.startController() / stopController('SIGKILL')
//   lab.restore()                             both dom0s as they were before anything was installed, an empty home; 15 s
//   lab.save('x') / lab.restore('x')          the same with a snapshot of your own, the controller's data included
//   lab.reboot('dom0-1')                      in order, with xendomains; resolves when it is up again
//   lab.powerCycle('dom0-1')                  as a power cut; resolves when it is up again
//   waitFor('ping', ask, limitMs)             asks until the answer is neither undefined nor false (command.ts)
//
// On each dom0, in the snapshot: no domU runs; /etc/xen/domU.cfg (the tutorial's, one MAC for both) with its disk and
// swap in /opt/xen/domU; xendomains enabled; bridge xenbr0; strace, iputils-arping, debugfs, lvm; no Node, no agent.
// The guest is a busybox with ifupdown's files and an sshd; its root takes the frontend's key.
import { randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fillCache, openCache } from './cache.js';
import { must, quote, sleep, waitFor, type CommandResult } from './command.js';
import { Frontend, type FrontendOptions } from './frontend.js';
import { Machine, READY } from './machine.js';
import { LabNetwork, tapOf } from './network.js';

export { waitFor, sleep, type CommandResult } from './command.js';

const HOSTS: ReadonlyMap<string, number> = new Map([
  ['dom0-1', 1],
  ['dom0-2', 2],
]);
/** Two that boot at once on two busy cores need 200 s. */
const BOOT_MS = 900_000;
const WAKE_MS = 120_000;
const SSH_MS = 300_000;
const SETTLE_MS = 5_000;
const MAX_CLOCK_OFF_S = 3;
const SHOWN = 'shown';

/** Mixes its input into the kernel's randomness and has it used at once: RNDRESEEDCRNG of random(4). */
const RESEED = 'open(R, ">", "/dev/urandom") or die; syswrite(R, <STDIN>); ioctl(R, 0x5207, 0) or die';

/** Where the lab is kept and how it is called, so that a second one may run beside it. */
export interface LabPlace {
  /** DOMHERD_LAB_DIR, or a folder in the user's cache: images by key, and what runs. */
  readonly root: string;
  /** DOMHERD_LAB_NAME: of the network namespace too. */
  readonly name: string;
}

export function labPlace(env: NodeJS.ProcessEnv = process.env): LabPlace {
  const cache = env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  return { root: env['DOMHERD_LAB_DIR'] || join(cache, 'domherd-lab'), name: env['DOMHERD_LAB_NAME'] || 'domherd-lab' };
}

export class Lab {
  readonly hosts: readonly string[] = [...HOSTS.keys()];
  readonly frontend: Frontend;
  readonly #images: string;
  readonly #run: string;
  readonly #network: LabNetwork;
  readonly #machines: ReadonlyMap<string, Machine>;

  /** @param images the folder of the cache @param runFolder disks, sockets, logs and the frontend's home */
  constructor(images: string, runFolder: string, name: string) {
    this.#images = images;
    this.#run = runFolder;
    this.#network = new LabNetwork(name);
    this.frontend = new Frontend(join(runFolder, 'home'), this.#network);
    const folders = { images, run: runFolder };
    this.#machines = new Map([...HOSTS].map(([host, number]) => [host, new Machine(host, number, folders)]));
  }

  get folder(): string {
    return this.#run;
  }

  /** The guest as a whole disk, which has a kernel of its own: a file on this machine. */
  get diskImage(): string {
    return join(this.#images, 'disk.img');
  }

  /** Whether {@link noteShown} was said of these images. */
  get isShown(): boolean {
    return existsSync(join(this.#images, SHOWN));
  }

  /** These images are what they should be. */
  noteShown(): void {
    writeFileSync(join(this.#images, SHOWN), '');
  }

  /** How to get into the frontend. */
  get enter(): string {
    return this.#network.enter.join(' ');
  }

  machine(host: string): Machine {
    const machine = this.#machines.get(host);
    if (!machine) throw new Error(`the lab has no ${host}`);
    return machine;
  }

  isRunning(): boolean {
    return [...this.#machines.values()].some((machine) => machine.isRunning());
  }

  /** Makes the network and switches both on; resolves when both are ready. */
  async start(from: 'power-on' | 'snapshot'): Promise<void> {
    await this.stop();
    mkdirSync(this.#run, { recursive: true, mode: 0o700 });
    await this.#network.create(HOSTS, this.frontend.home);
    this.#makeHome();
    for (const [host, machine] of this.#machines) {
      await this.#makeDisk(machine, from);
      await this.#switchOn(host, from === 'snapshot' ? READY : undefined);
    }
    if (from === 'power-on') await this.#each((host) => this.waitForBoot(host));
    else await this.#wake();
  }

  /**
   * Keeps both machines, with disk and memory, and the frontend's home, for {@link restore}. The controller is stopped.
   *
   * @param snapshot gone when the lab is stopped, but for {@link READY} of a lab that becomes the cache
   */
  async save(snapshot: string): Promise<void> {
    await this.frontend.stopController();
    await this.#each((host) => this.must(host, 'sync; echo 3 > /proc/sys/vm/drop_caches'));
    await this.#hangUp();
    await this.#each((host) => this.machine(host).save(snapshot));
    await must(['cp', '-a', this.frontend.home, this.#homeOf(snapshot)], { limitMs: WAKE_MS });
  }

  /**
   * Back to what {@link save} kept; unless told: no agent, no domU runs, the frontend's home is new. No
   * controller runs then.
   */
  async restore(snapshot: string = READY): Promise<void> {
    await this.frontend.stopController('SIGKILL');
    await this.#hangUp();
    if (snapshot === READY) {
      this.#makeHome();
    } else {
      rmSync(this.frontend.home, { recursive: true, force: true });
      await must(['cp', '-a', this.#homeOf(snapshot), this.frontend.home], { limitMs: WAKE_MS });
    }
    for (const host of this.hosts) {
      await this.machine(host).stop();
      await this.#switchOn(host, snapshot);
    }
    await this.#wake();
  }

  /** Switches both off. What they wrote stays until the next start. */
  async halt(): Promise<void> {
    await this.#hangUp();
    await this.#each((host) => this.machine(host).stop());
  }

  /** Ends everything that the lab started, and removes what it put on this machine but for the cache. */
  async stop(): Promise<void> {
    await this.frontend.stopController('SIGKILL');
    await this.halt();
    await this.#network.remove();
    rmSync(this.#run, { recursive: true, force: true });
  }

  /** As root, one command by its words. That it fails is an answer; exit code 255: no connection. */
  ssh(host: string, argv: readonly string[], options: FrontendOptions = {}): Promise<CommandResult> {
    return this.#shell(host, argv.map(quote).join(' '), options);
  }

  /** As root, a line for the shell. @returns stdout @throws {Error} with what it said, when it fails */
  async must(host: string, line: string, options: FrontendOptions = {}): Promise<string> {
    const { exitCode, stdout, stderr } = await this.#shell(host, line, options);
    if (exitCode !== 0)
      throw new Error(`${host}: ${line}\nexit code ${String(exitCode)}\n${(stderr + stdout).slice(-4000)}`);
    return stdout;
  }

  /** In order: xendomains saves or shuts down what runs. Resolves when the host is up again. */
  async reboot(host: string): Promise<void> {
    const before = await this.#bootId(host);
    await this.ssh(host, ['systemctl', 'reboot']);
    await this.#waitForOtherBoot(host, before);
  }

  /** As a power cut. Resolves when the host is up again. */
  async powerCycle(host: string): Promise<void> {
    const before = await this.#bootId(host);
    await this.machine(host).powerCycle();
    await this.#waitForOtherBoot(host, before);
  }

  /** Until systemd has started everything. */
  async waitForBoot(host: string): Promise<void> {
    await waitFor(`ssh of ${host}`, () => this.#answers(host), BOOT_MS);
    const { stdout } = await this.ssh(host, ['systemctl', 'is-system-running', '--wait']);
    if (stdout.trim() === 'running') return;
    const failed = await this.ssh(host, ['systemctl', '--failed', '--no-legend', '--plain']);
    throw new Error(`${host} is ${stdout.trim()}: ${failed.stdout}`);
  }

  /** The ends of all logs, for whoever looks for the reason of a failure. */
  tail(): string {
    const controller = this.frontend.controllerLog;
    const said = existsSync(controller) ? readFileSync(controller, 'utf8').split('\n').slice(-60).join('\n') : '';
    return [...[...this.#machines.values()].map((machine) => machine.tail()), `--- ${controller}\n${said}`].join('\n');
  }

  #switchOn(host: string, snapshot: string | undefined): Promise<void> {
    return this.machine(host).start(this.#network.enter, tapOf(HOSTS.get(host) ?? 0), snapshot);
  }

  async #waitForOtherBoot(host: string, before: string): Promise<void> {
    await this.#hangUp();
    const isAnother = async (): Promise<boolean> =>
      (await this.#answers(host)) && (await this.#bootId(host)) !== before;
    await waitFor(`the next boot of ${host}`, isAnother, BOOT_MS, 2000);
    await this.waitForBoot(host);
  }

  async #bootId(host: string): Promise<string> {
    return (await this.must(host, 'cat /proc/sys/kernel/random/boot_id')).trim();
  }

  async #answers(host: string): Promise<boolean> {
    return (await this.ssh(host, ['true'], { limitMs: 20_000 })).exitCode === 0;
  }

  /** A restored machine has the clock and the randomness of the moment that it was saved in. */
  async #wake(): Promise<void> {
    await this.#each(async (host) => {
      await waitFor(`ssh of ${host}`, () => this.#answers(host), WAKE_MS, 200);
      await waitFor(`the clock of ${host}`, () => this.#setClock(host), WAKE_MS, 0);
      await this.must(host, `perl -e '${RESEED}'`, { input: randomBytes(256).toString('hex') });
    });
  }

  /**
   * The time since the snapshot is in Xen's clock at first; when Xen compares it with its timer it goes, and takes dom0's
   * clock back with it: some seconds after the start, or later on a busy machine.
   *
   * @returns whether the clock stayed right
   */
  async #setClock(host: string): Promise<boolean> {
    await this.must(host, `date -s @${(Date.now() / 1000).toFixed(3)}`);
    await sleep(SETTLE_MS);
    const off = Number(await this.must(host, 'date +%s.%N')) - Date.now() / 1000;
    return Math.abs(off) < MAX_CLOCK_OFF_S;
  }

  /** The frontend's user: the lab's key is his own, and he has met the dom0s before. */
  #makeHome(): void {
    const { home } = this.frontend;
    rmSync(home, { recursive: true, force: true });
    const ssh = join(home, '.ssh');
    mkdirSync(ssh, { recursive: true, mode: 0o700 });
    mkdirSync(join(home, 'run'), { mode: 0o700 });
    copyFileSync(join(this.#images, 'id'), join(ssh, 'id_ed25519'));
    copyFileSync(join(this.#images, 'id.pub'), join(ssh, 'id_ed25519.pub'));
    copyFileSync(join(this.#images, 'known_hosts'), join(ssh, 'known_hosts'));
    // Guests come and go, and the image gave all of them one host key.
    const guests = 'Host 10.*\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n';
    writeFileSync(join(ssh, 'config'), `${guests}Host *\n  User root\n`, { mode: 0o600 });
    // One connection for all commands of the suite: a handshake is slow when emulated.
    const shared = `ControlMaster auto\nControlPath ${join(this.#run, '%h.ssh')}\nControlPersist yes\n`;
    writeFileSync(this.#sshConfig, `${shared}ConnectTimeout 5\nServerAliveInterval 5\nLogLevel ERROR\nUser root\n`);
  }

  #homeOf(snapshot: string): string {
    return join(this.#run, `home.${snapshot}`);
  }

  get #sshConfig(): string {
    return join(this.#run, 'ssh_config');
  }

  #shell(host: string, line: string, { limitMs = SSH_MS, input }: FrontendOptions): Promise<CommandResult> {
    return this.frontend.run(['ssh', '-F', this.#sshConfig, host, line], { limitMs, input });
  }

  /** Ends the shared connections: the machines will not remember them. */
  async #hangUp(): Promise<void> {
    for (const host of this.hosts) {
      if (existsSync(join(this.#run, `${host}.ssh`)))
        await this.frontend.run(['ssh', '-F', this.#sshConfig, '-O', 'exit', host], { limitMs: 5000 });
    }
  }

  async #makeDisk(machine: Machine, from: 'power-on' | 'snapshot'): Promise<void> {
    const saved = join(this.#images, `${machine.name}.qcow2`);
    const backing = ['-F', 'raw', '-b', join(this.#images, `${machine.name}.raw`)];
    const limit = { limitMs: WAKE_MS };
    if (from === 'snapshot') {
      await must(['cp', '--sparse=always', '--reflink=auto', saved, machine.disk], limit);
      // It was made while the folder had another name.
      await must(['qemu-img', 'rebase', '-u', '-f', 'qcow2', ...backing, machine.disk], limit);
      return;
    }
    await must(['qemu-img', 'create', '-q', '-f', 'qcow2', ...backing, machine.disk], limit);
  }

  async #each(act: (host: string) => Promise<unknown>): Promise<void> {
    const ended = await Promise.allSettled(this.hosts.map(act));
    const failed = ended.filter((one) => one.status === 'rejected').map((one) => one.reason as unknown);
    if (failed.length > 0) throw failed.length === 1 ? failed[0] : new AggregateError(failed);
  }
}

/** The lab of this place as it is, to look at and to stop: whether it was ever built or not. */
export function findLab({ root, name }: LabPlace): Lab {
  return new Lab('', join(root, 'run', name), name);
}

/** The lab of this place, made at the first call: some minutes; later from the cache: seconds. It is not started. */
export async function openLab({ root, name }: LabPlace, log: (text: string) => void): Promise<Lab> {
  const cache = await openCache(root);
  const runFolder = join(root, 'run', name);
  if (!cache.isBuilt) {
    const started = Date.now();
    log(`making the images of the lab in ${cache.folder}`);
    await fillCache(root, cache, async (half) => {
      log(`images: ${minutesSince(started)} min; now both dom0s boot once`);
      await makeSnapshots(half, new Lab(half, runFolder, name));
    });
    log(`made: ${minutesSince(started)} min`);
  }
  return new Lab(cache.folder, runFolder, name);
}

async function makeSnapshots(images: string, lab: Lab): Promise<void> {
  try {
    await lab.start('power-on');
    await lab.save(READY);
    await lab.halt();
    for (const host of lab.hosts) copyFileSync(lab.machine(host).disk, join(images, `${host}.qcow2`));
  } catch (error) {
    throw new Error(`the snapshots cannot be made\n${lab.tail()}`, { cause: error });
  } finally {
    await lab.stop();
  }
}

export function minutesSince(startedAtMs: number): string {
  return ((Date.now() - startedAtMs) / 60_000).toFixed(1);
}
