import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { must, run } from './command.js';

/** The site of the tutorial: a /14 on one layer 2 network. */
export const FRONTEND_ADDRESS = '10.183.255.1';
export const GATEWAY_ADDRESS = '10.183.255.254';
const PREFIX = 14;
const LIMIT_MS = 10_000;

/** The address of dom0 number `number`: of the site, but of no subnet that a test reserves. */
export function hostAddress(number: number): string {
  return `10.180.255.${String(number)}`;
}

export function tapOf(number: number): string {
  return `tap${String(number)}`;
}

/**
 * The frontend's network namespace, with one bridge that the dom0s are ports of. Nothing of it reaches the machine's own
 * network. In it, root has `home` for a home folder and knows the dom0s by name: `ip netns exec` binds what stands in
 * `/etc/netns/NAME` over `/etc`.
 */
export class LabNetwork {
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  /** To be put before a command that runs as the frontend. */
  get enter(): readonly ['ip', 'netns', 'exec', string] {
    return ['ip', 'netns', 'exec', this.#name];
  }

  async create(hosts: ReadonlyMap<string, number>, home: string): Promise<void> {
    await this.remove();
    await this.#ip('netns', 'add', this.#name);
    await this.#inside('link', 'set', 'lo', 'up');
    await this.#inside('link', 'add', 'site', 'type', 'bridge', 'forward_delay', '0');
    await this.#inside('address', 'add', `${FRONTEND_ADDRESS}/${String(PREFIX)}`, 'brd', '+', 'dev', 'site');
    await this.#inside('address', 'add', `${GATEWAY_ADDRESS}/${String(PREFIX)}`, 'dev', 'site');
    await this.#inside('link', 'set', 'site', 'up');
    for (const number of hosts.values()) {
      await this.#inside('tuntap', 'add', tapOf(number), 'mode', 'tap');
      await this.#inside('link', 'set', tapOf(number), 'master', 'site', 'up');
    }
    this.#writeFiles(hosts, home);
  }

  async remove(): Promise<void> {
    await run(['ip', 'netns', 'del', this.#name], { limitMs: LIMIT_MS });
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #folder(): string {
    return join('/etc/netns', this.#name);
  }

  #writeFiles(hosts: ReadonlyMap<string, number>, home: string): void {
    mkdirSync(this.#folder, { recursive: true });
    const names = [...hosts].map(([host, number]) => `${hostAddress(number)}\t${host}\n`);
    const own = `127.0.0.1\tlocalhost\n${FRONTEND_ADDRESS}\tfrontend\n`;
    writeFileSync(join(this.#folder, 'hosts'), own + names.join(''));
    writeFileSync(join(this.#folder, 'resolv.conf'), `nameserver ${GATEWAY_ADDRESS}\noptions timeout:1 attempts:1\n`);
    writeFileSync(join(this.#folder, 'nsswitch.conf'), 'passwd: files\ngroup: files\nhosts: files\n');
    // OpenSSH asks the password file for the home folder, not the environment.
    writeFileSync(
      join(this.#folder, 'passwd'),
      `root:x:0:0:root:${home}:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n`,
    );
  }

  #ip(...args: string[]): Promise<string> {
    return must(['ip', ...args], { limitMs: LIMIT_MS });
  }

  #inside(...args: string[]): Promise<string> {
    return this.#ip('-n', this.#name, ...args);
  }
}
