import type { Option } from 'commander';
import { ADDRESSED, EXPORTED, NAMED, PLAIN } from './format.js';
import { fanOptions, userOption } from './fan-option.js';
import type { FanOptions } from './guest/guest-fan.js';
import type { LoginOptions } from './guest/guest-ssh.js';
import { bridgeOption, dryRunOption, durationOption, option, yesOption } from './option.js';
import { verb, type Noun } from './verb.js';
import { checkVerb } from './vm-check-command.js';
import { consoleVerb } from './vm-console-command.js';
import { migrateVerb } from './vm-migrate-command.js';
import { renameVerb } from './vm-rename-command.js';
import { autostartVerb, restartVerb, setVerb } from './vm-set-command.js';
import type {
  AddressOptions,
  DestroyOptions,
  PauseOptions,
  RebootOptions,
  RestoreFilesOptions,
  ShutdownOptions,
  StartOptions,
} from './vm-order-action.js';
import type { ListOptions } from './vm-action.js';
import { applyVerb, cloneVerb, createVerb, diffVerb, labelVerb } from './vm-create-command.js';
import type { ScpOptions } from './vm-ssh-action.js';
import type { WaitOptions } from './vm-wait-action.js';

function allOption(): Option {
  return option('-a, --all', 'all VMs of all hosts');
}

const SELECTED = '[vm...]';

const listVerb = verb({
  name: 'list',
  args: SELECTED,
  about: 'the VMs of all hosts, or those named',
  formats: EXPORTED,
  options: [option('--list', 'with -o ansible: the JSON that Ansible wants of an inventory script')],
  examples: [
    'domherd vm list',
    'domherd vm list -o ips > vms_assigned_ips.txt',
    'domherd vm list domU@dom0-1',
    'domherd vm list -o ansible > inventory.ini',
    'domherd vm list -o hosts >> /etc/hosts',
  ],
  run: async (call, args, options: ListOptions) => (await import('./vm-action.js')).listVms(call, args, options),
});

const showVerb = verb({
  name: 'show',
  args: '<vm>',
  about: 'everything known of one VM: NAME, NAME@HOST or its id',
  formats: ADDRESSED,
  examples: ['domherd vm show domU@dom0-1'],
  run: async (call, [name = '']) => (await import('./vm-action.js')).showVm(call, name),
});

const addressVerb = verb({
  name: 'address',
  args: SELECTED,
  about: 'give VMs that are stopped an address and a MAC, written into cfg and guest',
  formats: ADDRESSED,
  options: [
    allOption(),
    option('--reservation <reservation>', 'from this reservation; else the only active one'),
    option('--address <address>', 'this one; for one VM with one NIC'),
    bridgeOption(),
    dryRunOption(),
  ],
  examples: [
    'domherd vm address domU@dom0-1 domU@dom0-2',
    'domherd vm address --all --dry-run',
    'domherd vm address domU@dom0-1 --bridge xenbr0',
  ],
  run: async (call, args, options: AddressOptions) =>
    (await import('./vm-order-action.js')).addressVms(call, args, options),
});

const startVerb = verb({
  name: 'start',
  args: SELECTED,
  about: 'start VMs; one whose address or MAC is live elsewhere is refused',
  formats: ADDRESSED,
  options: [allOption(), option('--force', 'start them all the same; recorded as an event'), dryRunOption()],
  examples: ['domherd vm start --all', 'domherd vm start domU@dom0-1 --dry-run'],
  run: async (call, args, options: StartOptions) =>
    (await import('./vm-order-action.js')).startVms(call, args, options),
});

const shutdownVerb = verb({
  name: 'shutdown',
  args: SELECTED,
  about: 'ask guests to shut down; one that ignores it is left alone and reported, or destroyed',
  formats: ADDRESSED,
  options: [
    allOption(),
    durationOption('--timeout <duration>', 'wait for a guest so long, 1s to 1h; else 60s', '1s', '1h'),
    option('--then <what>', 'what becomes of a guest that is still there then; else leave').choices([
      'leave',
      'destroy',
    ]),
    dryRunOption(),
  ],
  examples: ['domherd vm shutdown domU@dom0-1', 'domherd vm shutdown --all --timeout 2m --then destroy'],
  run: async (call, args, options: ShutdownOptions) =>
    (await import('./vm-order-action.js')).shutdownVms(call, args, options),
});

const destroyVerb = verb({
  name: 'destroy',
  args: SELECTED,
  about: 'cut the power of VMs; disks and cfg stay',
  formats: ADDRESSED,
  options: [allOption(), yesOption(), dryRunOption()],
  examples: ['domherd vm destroy domU@dom0-1', 'domherd vm destroy --all --yes'],
  run: async (call, args, options: DestroyOptions) =>
    (await import('./vm-order-action.js')).destroyVms(call, args, options),
});

const rebootVerb = verb({
  name: 'reboot',
  args: SELECTED,
  about: 'ask guests to reboot, and wait until they have',
  formats: ADDRESSED,
  options: [
    allOption(),
    durationOption('--timeout <duration>', 'wait for a guest so long, 1s to 1h; else 5m', '1s', '1h'),
    dryRunOption(),
  ],
  examples: ['domherd vm reboot domU@dom0-1', 'domherd vm reboot --all --timeout 10m'],
  run: async (call, args, options: RebootOptions) =>
    (await import('./vm-order-action.js')).rebootVms(call, args, options),
});

const pauseVerb = verb({
  name: 'pause',
  args: SELECTED,
  about: 'take the CPU from VMs; they keep their memory and their addresses',
  formats: ADDRESSED,
  options: [allOption(), dryRunOption()],
  examples: ['domherd vm pause domU@dom0-1', 'domherd vm pause --all'],
  run: async (call, args, options: PauseOptions) =>
    (await import('./vm-order-action.js')).pauseVms('pause', call, args, options),
});

const unpauseVerb = verb({
  name: 'unpause',
  args: SELECTED,
  about: 'give VMs that are paused the CPU again',
  formats: ADDRESSED,
  options: [allOption(), dryRunOption()],
  examples: ['domherd vm unpause domU@dom0-1', 'domherd vm unpause --all'],
  run: async (call, args, options: PauseOptions) =>
    (await import('./vm-order-action.js')).pauseVms('unpause', call, args, options),
});

const restoreFilesVerb = verb({
  name: 'restore-files',
  args: SELECTED,
  about:
    'give VMs that are stopped the cfg and guest files back that they had before domherd; their addresses are released',
  formats: ADDRESSED,
  options: [allOption(), yesOption(), dryRunOption()],
  examples: [
    'domherd vm restore-files domU@dom0-1',
    'domherd vm restore-files --all --dry-run',
    'domherd vm shutdown --all && domherd vm restore-files --all --yes',
  ],
  run: async (call, args, options: RestoreFilesOptions) =>
    (await import('./vm-order-action.js')).restoreVmFiles(call, args, options),
});

const waitVerb = verb({
  name: 'wait',
  args: SELECTED,
  about: 'wait until VMs are running or stopped, or answer ping or ssh from here',
  formats: ADDRESSED,
  options: [
    allOption(),
    option('--for <condition>', 'what to wait for')
      .choices(['running', 'stopped', 'ping', 'ssh'])
      .makeOptionMandatory(),
    durationOption('--timeout <duration>', 'wait at most so long, 1s to 1d; else 5m', '1s', '1d'),
  ],
  examples: [
    'domherd vm wait --all --for=running',
    'domherd vm wait --all --for=ssh --timeout 10m',
    'domherd vm wait domU@dom0-1 --for=stopped --timeout 1m',
  ],
  run: async (call, args, options: WaitOptions) =>
    (await import('./vm-wait-action.js')).waitForVms(call, args, options),
});

const deleteVerb = verb({
  name: 'delete',
  args: SELECTED,
  about: 'take VMs away that create or clone made: cfg, disks and leases',
  formats: ADDRESSED,
  options: [allOption(), yesOption(), dryRunOption()],
  examples: ['domherd vm delete web-7', 'domherd vm delete web-1 web-2 --yes'],
  run: async (call, args, options: DestroyOptions) =>
    (await import('./vm-order-action.js')).deleteVms(call, args, options),
});

const sshVerb = verb({
  name: 'ssh',
  args: '<vm> [command...]',
  about: 'log in to a VM, or run a command there; through its dom0 if it does not answer from here',
  formats: [],
  options: [userOption()],
  examples: ['domherd vm ssh domU@dom0-1', 'domherd vm ssh web-7 -- journalctl -b -p err'],
  run: async (call, args, options: LoginOptions) => (await import('./vm-ssh-action.js')).sshToVm(call, args, options),
});

const scpVerb = verb({
  name: 'scp',
  args: '<path...>',
  about: 'copy files as scp does; VM:PATH is a file in a VM',
  formats: [],
  options: [userOption(), option('-r, --recursive', 'folders with what is in them')],
  examples: ['domherd vm scp ./app.conf web-7:/etc/', 'domherd vm scp -r web-7:/var/log ./logs'],
  run: async (call, args, options: ScpOptions) => (await import('./vm-ssh-action.js')).copyByScp(call, args, options),
});

const runVerb = verb({
  name: 'run',
  args: SELECTED,
  about: 'run a command in VMs by ssh, side by side; what several say alike is printed once',
  formats: PLAIN,
  options: fanOptions(),
  examples: [
    'domherd vm run --all -- uptime',
    "domherd vm run web-1 web-2 --timeout 30s -- 'apt-get update && apt-get -y upgrade'",
    'domherd vm run --all -o json -- df /',
  ],
  run: async (call, args, options: FanOptions) => (await import('./vm-run-action.js')).runInVms(call, args, options),
});

const copyVerb = verb({
  name: 'copy',
  args: '<file> <destination> [vm...]',
  about: 'copy a file or folder to VMs by scp, side by side',
  formats: NAMED,
  options: fanOptions(),
  examples: ['domherd vm copy ./setup.sh /root/ --all', 'domherd vm copy ./data /srv/ web-1 web-2'],
  run: async (call, args, options: FanOptions) => (await import('./vm-run-action.js')).copyToVms(call, args, options),
});

export const VM: Noun = {
  name: 'vm',
  about: 'the domUs of all hosts',
  verbs: [
    listVerb,
    showVerb,
    createVerb,
    cloneVerb,
    labelVerb,
    applyVerb,
    diffVerb,
    deleteVerb,
    addressVerb,
    startVerb,
    shutdownVerb,
    destroyVerb,
    rebootVerb,
    pauseVerb,
    unpauseVerb,
    restoreFilesVerb,
    waitVerb,
    checkVerb,
    consoleVerb,
    setVerb,
    restartVerb,
    migrateVerb,
    renameVerb,
    autostartVerb,
    sshVerb,
    scpVerb,
    runVerb,
    copyVerb,
  ],
};
