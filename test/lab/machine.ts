import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { qemuArguments } from './qemu.js';
import { sleep, waitFor } from './command.js';

/** What the machine that every lab begins with is called inside its disk. */
export const READY = 'ready';
/** libxl gives its hotplug scripts 40 s, which emulation on a busy machine spends easily: the machines go first. */
const FIRST = '-10';
/** To read a snapshot, too. */
const START_MS = 60_000;
const MONITOR_MS = 120_000;
const PROMPT = '(qemu) ';

export interface MachineFolders {
  /** Kernels and initrds; nothing is written there. */
  readonly images: string;
  /** Disk, sockets, logs. */
  readonly run: string;
}

/** The kernel shares processors among sessions before it looks at `nice`: a session as a whole has one, too. */
function goFirst(pid: number): void {
  const path = `/proc/${String(pid)}/autogroup`;
  if (existsSync(path)) writeFileSync(path, FIRST);
  else setPriority(pid, Number(FIRST));
}

/** One emulated computer that runs Xen. */
export class Machine {
  readonly name: string;
  readonly #number: number;
  readonly #folders: MachineFolders;

  constructor(name: string, number: number, folders: MachineFolders) {
    this.name = name;
    this.#number = number;
    this.#folders = folders;
  }

  /** What firmware tells, as the DMI tables do on a node. */
  get uuid(): string {
    return `5d0e7d00-1ab0-4000-8000-00000000000${String(this.#number)}`;
  }

  get mac(): string {
    return `52:54:00:d0:00:0${String(this.#number)}`;
  }

  get disk(): string {
    return this.#file('qcow2');
  }

  /** Console of Xen and of dom0, then QEMU's own words. */
  get logs(): readonly string[] {
    return [this.#file('console.log'), this.#file('qemu.log')];
  }

  /**
   * Switches the power on; resolves when QEMU runs, long before dom0 does.
   *
   * A snapshot is only ever loaded by a QEMU of its own: of one that loads it while it runs, Xen's clocks disagree for minutes.
   *
   * @param enter what is put before QEMU's command, to get into the namespace
   * @param snapshot one that {@link save} kept; `undefined`: as a computer starts
   */
  async start(enter: readonly [string, ...string[]], tap: string, snapshot: string | undefined): Promise<void> {
    const log = openSync(this.#file('qemu.log'), 'a');
    const [program, ...before] = enter;
    const args = [
      ...before,
      'qemu-system-x86_64',
      ...this.#arguments(tap),
      ...(snapshot === undefined ? [] : ['-loadvm', snapshot]),
    ];
    // Its own session: the lab outlives the program that started it.
    const child = spawn(program, args, { detached: true, stdio: ['ignore', log, log] });
    child.unref();
    closeSync(log);
    goFirst(child.pid ?? 0);
    writeFileSync(this.#file('pid'), String(child.pid));
    const answers = (): Promise<string> => this.#monitor('info status');
    await waitFor(`QEMU of ${this.name}`, answers, START_MS, 100);
  }

  /** As a power cut and the power's return. */
  async powerCycle(): Promise<void> {
    await this.#monitor('system_reset');
  }

  /** Keeps disk, memory and processor as they are now, on the disk's own file. */
  async save(snapshot: string): Promise<void> {
    await this.#monitor(`savevm ${snapshot}`);
  }

  /**
   * Plugs a disk in that other machines may have at the same time, until this QEMU ends. It cannot be saved then.
   *
   * @param file raw
   */
  async plugShared(file: string, serial: string): Promise<void> {
    await this.#monitor(`drive_add 0 if=none,id=shared,format=raw,file=${file},file.locking=off`);
    await this.#monitor(`device_add virtio-blk-pci,drive=shared,id=shared,serial=${serial},share-rw=on`);
  }

  isRunning(): boolean {
    return this.#pid() !== undefined;
  }

  /** Without saying goodbye. Nothing happens when it does not run. */
  async stop(): Promise<void> {
    const pid = this.#pid();
    if (pid !== undefined) process.kill(pid, 'SIGTERM');
    for (let waited = 0; this.#pid() !== undefined; waited += 50) {
      if (waited > 5000) process.kill(pid ?? 0, 'SIGKILL');
      await sleep(50);
    }
    for (const name of ['pid', 'monitor']) rmSync(this.#file(name), { force: true });
  }

  #arguments(tap: string): readonly string[] {
    const files = { disk: this.disk, console: this.#file('console.log'), monitor: this.#file('monitor') };
    return qemuArguments({ images: this.#folders.images, uuid: this.uuid, mac: this.mac, tap, ...files });
  }

  /** Of the QEMU that has this machine's disk; never of another process that got its number since. */
  #pid(): number | undefined {
    try {
      const pid = Number(readFileSync(this.#file('pid'), 'utf8'));
      const isOurs = readFileSync(`/proc/${String(pid)}/cmdline`, 'utf8').includes(`file=${this.disk},`);
      return isOurs ? pid : undefined;
    } catch {
      return undefined;
    }
  }

  /** @returns what the monitor answered @throws {Error} if it complains, or does not answer */
  #monitor(command: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(this.#file('monitor'));
      let seen = '';
      let isSent = false;
      const end = (error?: Error): void => {
        socket.destroy();
        if (error) reject(error);
        else if (/error|could not|no such/i.test(seen)) reject(new Error(`${this.name}: ${command}: ${seen}`));
        else resolve(seen);
      };
      socket.setTimeout(MONITOR_MS, () => end(new Error(`${this.name}: no answer to ${command}`)));
      socket.on('error', end);
      socket.on('close', () => end(new Error(`${this.name}: QEMU ended\n${this.tail()}`)));
      socket.on('data', (chunk: Buffer) => {
        seen += chunk.toString();
        if (!seen.endsWith(PROMPT)) return;
        if (isSent) return end();
        isSent = true;
        seen = '';
        socket.write(`${command}\n`);
      });
    });
  }

  /** The end of its logs, for whoever looks for the reason of a failure. */
  tail(lines = 40): string {
    const texts = this.logs
      .filter((file) => existsSync(file))
      .map((file) => {
        const text = readFileSync(file, 'utf8').replaceAll('\r', '');
        return `--- ${file}\n${text.split('\n').slice(-lines).join('\n')}`;
      });
    return texts.join('\n');
  }

  #file(extension: string): string {
    return join(this.#folders.run, `${this.name}.${extension}`);
  }
}
