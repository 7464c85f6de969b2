import { quote } from '../dom0/script.js';
import { sshOptions, type SshTarget } from '../dom0/ssh.js';

/** How ssh gets to a VM. */
export interface SshGuest {
  /** What a user types: unique, without `@`. */
  readonly name: string;
  readonly vmId: number;
  readonly address: string;
  /** The dom0 to go through; `undefined`: from here. */
  readonly jump: SshTarget | undefined;
  /** What it is known by, each as "TYPE BASE64"; empty: the first key that it shows is taken. */
  readonly hostKeys: readonly string[];
}

export interface SshConfigOptions {
  readonly user: string;
  /** Where ssh keeps the first key of VMs that nothing is known of. */
  readonly knownHosts: string;
  /** Has what {@link formatKnownHosts} makes of all others. */
  readonly hostKeys: string;
  /** For connections that several commands share; `undefined`: each has its own. */
  readonly controlFolder?: string | undefined;
}

/** A second command comes soon or never. */
const SHARED_S = 60;

/**
 * A configuration of ssh_config(5): a block for each VM. Host keys are kept by VM, not by address: addresses are given to
 * other VMs.
 */
export function formatSshConfig(guests: readonly SshGuest[], options: SshConfigOptions): string {
  return guests.map((guest) => blockOf(guest, options)).join('\n');
}

/** The keys that VMs' own disks have, as known_hosts of sshd(8). */
export function formatKnownHosts(guests: readonly Pick<SshGuest, 'vmId' | 'hostKeys'>[]): string {
  const lines = guests.flatMap(({ vmId, hostKeys }) => hostKeys.map((key) => `${aliasOf(vmId)} ${key}\n`));
  return lines.join('');
}

function aliasOf(vmId: number): string {
  return `domherd-vm-${String(vmId)}`;
}

function blockOf(
  { name, vmId, address, jump, hostKeys }: SshGuest,
  { user, controlFolder, ...files }: SshConfigOptions,
): string {
  const isKnown = hostKeys.length > 0;
  const settings = {
    HostName: address,
    User: user,
    HostKeyAlias: aliasOf(vmId),
    UserKnownHostsFile: quoted(isKnown ? files.hostKeys : files.knownHosts),
    // Of a VM whose keys are not known the first one that it shows is kept; another one later is refused.
    StrictHostKeyChecking: isKnown ? 'yes' : 'accept-new',
    ...(isKnown ? { UpdateHostKeys: 'no' } : {}),
    CheckHostIP: 'no',
    HashKnownHosts: 'no',
    // Not that a new VM's key was kept: it is new each time that one is made.
    LogLevel: 'ERROR',
    ConnectTimeout: '10',
    ServerAliveInterval: '15',
    ...(controlFolder === undefined
      ? {}
      : {
          ControlMaster: 'auto',
          ControlPersist: String(SHARED_S),
          ControlPath: quoted(`${controlFolder}/${String(vmId)}-${address}-${user}`),
        }),
    ...(jump ? { ProxyCommand: jumpCommand(jump) } : {}),
  };
  const lines = Object.entries(settings).map(([key, value]) => `  ${key} ${value}\n`);
  return `Host ${name}\n${lines.join('')}`;
}

/** ProxyJump would reach the dom0 without the options that it is reached with otherwise. A shell reads it, after ssh's own `%`. */
function jumpCommand(jump: SshTarget): string {
  const words = ['ssh', ...sshOptions(jump), '-W', '[%h]:%p', '--', jump.host];
  return words.map((word) => (word === '[%h]:%p' ? `'${word}'` : shellWord(word.replaceAll('%', '%%')))).join(' ');
}

function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : quote(word);
}

/** ssh_config(5) has no escape for a quote in a quoted argument, and expands `%`. */
function quoted(path: string): string {
  return `"${path.replaceAll('%', '%%')}"`;
}
