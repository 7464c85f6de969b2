import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { cfgName, getNumber, parseXlCfg } from '../../agent/domain/xl-cfg/xl-cfg.js';
import type { XenPlaces } from '../../agent/adapters/xl/xen-host.js';
import { FakeXenstored } from './fake-xenstored.js';

export interface FakeDomain {
  readonly domid: number;
  readonly uuid: string;
  readonly cfgPath: string;
  name: string;
  memoryMib: number;
  vcpus: number;
  readonly maxMemoryMib: number;
  readonly maxVcpus: number;
  /** As xl orders them: r b p s c d. */
  flags: string;
  cpuSeconds: number;
}

export interface XlAnswer {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

const XENTOP_HEADER =
  '      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS   VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID\n';
const DOM0: FakeDomain = {
  domid: 0,
  uuid: '00000000-0000-0000-0000-000000000000',
  cfgPath: '',
  name: 'Domain-0',
  memoryMib: 1024,
  vcpus: 1,
  maxMemoryMib: 1024,
  maxVcpus: 1,
  flags: 'r',
  cpuSeconds: 400,
};

/**
 * A Xen dom0 without Xen: a xenstored on a real socket, and `xl`, `xentop` and `systemd-run` that are real programs; what
 * they print has the form of the recordings. Domains are kept in memory.
 */
export class FakeXen {
  readonly store = new FakeXenstored();
  readonly domains = new Map<number, FakeDomain>();
  /** Commands so far: "xl list -v", "xentop -b ...". */
  readonly calls: string[] = [];
  /** By verb of xl: what it says instead of doing anything. */
  readonly answers = new Map<string, XlAnswer>();
  /** Verbs of xl that never end; `create` has made half a domain by then. */
  readonly hangs = new Set<string>();
  /** Milliseconds that a create takes, and a guest to power off. */
  buildMs = 30;
  powerOffMs = 30;
  isMeterBroken = false;
  /** Creates that run now, and the most that ever did. */
  creating = 0;
  mostCreating = 0;
  readonly #root: string;
  readonly #meters = new Set<Socket>();
  #server: Server | undefined;
  #meterTimer: NodeJS.Timeout | undefined;
  #lastDomid = 0;

  /** @param root a folder of its own; short, since sockets are in it */
  constructor(root: string) {
    this.#root = root;
  }

  get places(): XenPlaces {
    const at = (name: string): string => join(this.#root, name);
    return {
      capabilities: at('capabilities'),
      path: at('bin'),
      systemdFolder: at('systemd'),
      xenstoreSocket: at('xs.sock'),
      libxlFolder: at('libxl'),
      backendFolder: at('backend'),
    };
  }

  async start({ hasStore = true } = {}): Promise<void> {
    const { capabilities, path, systemdFolder, xenstoreSocket, libxlFolder, backendFolder } = this.places;
    for (const folder of [path, systemdFolder, libxlFolder, backendFolder]) await mkdir(folder, { recursive: true });
    await writeFile(capabilities, 'control_d\n');
    const control = join(this.#root, 'ctl.sock');
    const program = join(import.meta.dirname, 'fake-xl.pl');
    for (const name of ['xl', 'xentop']) {
      await writeScript(join(path, name), `exec /usr/bin/perl "${program}" "${control}" ${name} "$@"`);
    }
    await writeScript(
      join(path, 'systemd-run'),
      `echo "$@" >> "${join(this.#root, 'scopes')}"\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"`,
    );
    this.#server = createServer((socket) => this.#accept(socket));
    await new Promise<void>((resolve) => this.#server?.listen(control, resolve));
    this.store.write('/local/domain/0/name', 'Domain-0');
    if (hasStore) await this.store.listen(xenstoreSocket);
    this.#meterTimer = setInterval(() => this.#meter(), 40);
  }

  async stop(): Promise<void> {
    clearInterval(this.#meterTimer);
    for (const socket of this.#meters) socket.destroy();
    const server = this.#server;
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
    await this.store.close();
  }

  /** Argument lists of systemd-run. */
  scopes(): readonly string[] {
    return readFileSync(join(this.#root, 'scopes'), 'utf8').trim().split('\n');
  }

  find(name: string): FakeDomain | undefined {
    return [...this.domains.values()].find((domain) => domain.name === name);
  }

  calledVerbs(): readonly string[] {
    return this.calls.filter((call) => call.startsWith('xl ')).map((call) => call.slice(3));
  }

  /** As a hand-typed `xl create` does. */
  createHalf(name: string, options: Partial<FakeDomain> = {}): FakeDomain {
    this.#lastDomid += 1;
    const domid = this.#lastDomid;
    const fresh = { cfgPath: '', memoryMib: 128, vcpus: 1, flags: 'p', cpuSeconds: 0, uuid: randomUUID() };
    const { memoryMib = fresh.memoryMib, vcpus = fresh.vcpus } = options;
    const most = { maxMemoryMib: memoryMib, maxVcpus: vcpus };
    const domain = { ...fresh, ...most, ...options, domid, name };
    this.domains.set(domid, domain);
    const write = (path: string, value: string): void => this.store.write(`/local/domain/${domid}/${path}`, value);
    write('vm', `/vm/${domain.uuid}`);
    write('memory/target', `${domain.memoryMib * 1024}`);
    write('memory/static-max', `${domain.maxMemoryMib * 1024}`);
    for (let cpu = 0; cpu < domain.maxVcpus; cpu += 1) {
      write(`cpu/${cpu}/availability`, cpu < domain.vcpus ? 'online' : 'offline');
    }
    write('name', name);
    write('control/shutdown', '');
    this.store.write(`/vm/${domain.uuid}`, '');
    return domain;
  }

  finish(domain: FakeDomain): FakeDomain {
    const { domid, uuid } = domain;
    writeFileSync(join(this.places.libxlFolder, `userdata-d.${domid}.${uuid}.libxl-json`), '{}');
    this.setCounters(domid, { rx: 100, tx: 50, read: 8, written: 2 });
    domain.flags = 'b';
    this.store.fire('@introduceDomain');
    return domain;
  }

  /** As the backends count: rx and tx are dom0's side of the vif, read and written are sectors. */
  setCounters(domid: number, counts: { rx: number; tx: number; read: number; written: number }): void {
    const net = join(this.places.backendFolder, `vif-${domid}-0`, 'net', `renamed${domid}`, 'statistics');
    const disk = join(this.places.backendFolder, `vbd-${domid}-51714`, 'statistics');
    for (const folder of [net, disk]) mkdirSync(folder, { recursive: true });
    writeFileSync(join(net, 'rx_bytes'), `${counts.rx}\n`);
    writeFileSync(join(net, 'tx_bytes'), `${counts.tx}\n`);
    writeFileSync(join(disk, 'rd_sect'), `${counts.read}\n`);
    writeFileSync(join(disk, 'wr_sect'), `${counts.written}\n`);
  }

  end({ domid, uuid }: FakeDomain): void {
    this.domains.delete(domid);
    this.store.remove(`/local/domain/${domid}`);
    this.store.remove(`/vm/${uuid}`);
    for (const device of [`vif-${domid}-0`, `vbd-${domid}-51714`]) {
      rmSync(join(this.places.backendFolder, device), { recursive: true, force: true });
    }
    this.store.fire('@releaseDomain');
  }

  #accept(socket: Socket): void {
    socket.on('error', () => undefined);
    socket.setEncoding('utf8').once('data', (line: string) => {
      const argv = line.trimEnd().split('\u001f');
      this.calls.push(argv.join(' '));
      if (argv[0] === 'xentop') return this.#acceptMeter(socket);
      void this.#runXl(argv.slice(1)).then((answer) => {
        if (answer !== undefined)
          socket.end(`${answer.exitCode} ${answer.stderr.length}\n${answer.stderr}${answer.stdout}`);
      });
    });
  }

  #acceptMeter(socket: Socket): void {
    if (this.isMeterBroken) return void socket.end();
    this.#meters.add(socket);
    socket.on('close', () => this.#meters.delete(socket));
  }

  #meter(): void {
    const rows = [DOM0, ...this.domains.values()].map(xentopRow).join('');
    for (const socket of this.#meters) socket.write(XENTOP_HEADER + rows);
  }

  /** Cuts the meters' connections, as a xentop that dies does. */
  killMeters(): void {
    for (const socket of this.#meters) socket.destroy();
  }

  /** @returns `undefined`: it hangs */
  async #runXl([verb = '', ...args]: string[]): Promise<XlAnswer | undefined> {
    const fixed = this.answers.get(verb);
    if (fixed !== undefined) return fixed;
    if (verb === 'create') return this.#create(args[0] ?? '');
    if (this.hangs.has(verb)) return undefined;
    if (verb === 'list') return ok(listText([DOM0, ...this.domains.values()]));
    if (verb === 'info') return ok(infoText([...this.domains.values()]));
    const [who, size] = verb.endsWith('-set') ? args : [args.at(-1)];
    const domain = this.domains.get(Number(who));
    if (domain === undefined) return failed(1, `${args.at(-1)} is an invalid domain identifier (rc=-6)\n`);
    switch (verb) {
      case 'destroy':
        this.end(domain);
        return ok('');
      case 'mem-set':
        if (!/^\d+m$/.test(size ?? '')) return failed(1, `invalid memory size: ${size}\n`);
        domain.memoryMib = Number.parseInt(size ?? '', 10);
        this.store.write(`/local/domain/${domain.domid}/memory/target`, `${domain.memoryMib * 1024}`);
        return ok('');
      case 'vcpu-set':
        domain.vcpus = Number(size);
        for (let cpu = 0; cpu < domain.maxVcpus; cpu += 1) {
          const state = cpu < domain.vcpus ? 'online' : 'offline';
          this.store.write(`/local/domain/${domain.domid}/cpu/${cpu}/availability`, state);
        }
        return ok('');
      case 'pause':
      case 'unpause':
        domain.flags = verb === 'pause' ? 'p' : 'b';
        return ok('');
      case 'shutdown':
      case 'reboot':
        this.#ask(verb, domain);
        return ok(`${verb === 'shutdown' ? 'Shutting down' : 'Rebooting'} domain ${domain.domid}\n`);
      default:
        return failed(2, `command not implemented\n`);
    }
  }

  #ask(verb: 'shutdown' | 'reboot', domain: FakeDomain): void {
    const { domid, name, uuid, cfgPath, memoryMib, vcpus } = domain;
    this.store.write(`/local/domain/${domid}/control/shutdown`, verb === 'shutdown' ? 'poweroff' : 'reboot');
    if (this.powerOffMs === Infinity) return;
    setTimeout(() => {
      this.end(domain);
      if (verb === 'reboot') this.finish(this.createHalf(name, { uuid, cfgPath, memoryMib, vcpus }));
    }, this.powerOffMs);
  }

  async #create(cfgPath: string): Promise<XlAnswer | undefined> {
    const cfg = parseXlCfg(readFileSync(cfgPath, 'latin1'));
    const name = cfgName(cfg) ?? '';
    if (this.find(name) !== undefined) {
      return failed(
        3,
        `libxl: error: libxl_domain.c:81:libxl__domain_rename: Domain 4:Domain with name "${name}" already exists.\n`,
      );
    }
    this.creating += 1;
    this.mostCreating = Math.max(this.creating, this.mostCreating);
    const [memoryMib, vcpus] = [getNumber(cfg, 'memory') ?? 128, getNumber(cfg, 'vcpus') ?? 1];
    const [maxMemoryMib, maxVcpus] = [getNumber(cfg, 'maxmem') ?? memoryMib, getNumber(cfg, 'maxvcpus') ?? vcpus];
    const domain = this.createHalf(name, { cfgPath, memoryMib, vcpus, maxMemoryMib, maxVcpus });
    if (this.hangs.has('create')) return undefined;
    await new Promise((resolve) => setTimeout(resolve, this.buildMs));
    this.finish(domain);
    this.creating -= 1;
    return ok(`Parsing config from ${cfgPath}\n`);
  }
}

export function failed(exitCode: number, stderr: string): XlAnswer {
  return { stdout: '', stderr, exitCode };
}

function ok(stdout: string): XlAnswer {
  return { stdout, stderr: '', exitCode: 0 };
}

function writeScript(path: string, text: string): Promise<void> {
  return writeFile(path, `#!/bin/sh\n${text}\n`).then(() => chmod(path, 0o755));
}

function flagsText(flags: string, order: string): string {
  return [...order].map((letter) => (flags.includes(letter) ? letter : '-')).join('');
}

function listText(domains: readonly FakeDomain[]): string {
  const header =
    'Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label\n';
  const row = ({ name, domid, memoryMib, vcpus, flags, uuid, cpuSeconds }: FakeDomain): string =>
    `${name.padEnd(40)} ${`${domid}`.padStart(5)} ${`${memoryMib}`.padStart(5)} ${`${vcpus}`.padStart(5)}     ` +
    `${flagsText(flags, 'rbpscd')}  ${cpuSeconds.toFixed(1).padStart(8)} ${uuid}        -                -\n`;
  return header + domains.map(row).join('');
}

function xentopRow({ name, flags, cpuSeconds, memoryMib, vcpus }: FakeDomain): string {
  const memory = `${`${memoryMib * 1024}`.padStart(10)}    6.3     132096       6.3`;
  return (
    `${name.padStart(10)} ${flagsText(flags, 'dsbcpr')} ${`${cpuSeconds}`.padStart(10)}    2.5 ${memory}` +
    ` ${`${vcpus}`.padStart(5)}    1        0        0    2        0       63       23       4104        112    0\n`
  );
}

function infoText(domains: readonly FakeDomain[]): string {
  const used = domains.reduce((sum, { memoryMib }) => sum + memoryMib, 1024 + 23);
  return `host                   : dom0-1\nnr_cpus                : 8\ntotal_memory           : 16384\nfree_memory            : ${16384 - used}\nxen_version            : 4.17.7\n`;
}
