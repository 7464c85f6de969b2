import { InvalidArgumentError, type Option } from 'commander';
import { DEFAULT_DIST, INSTALLERS } from '../../shared/domain/installer.js';
import { parseBridgeName } from '../../shared/domain/name.js';
import { BOOTLOADERS, MAX_DISK_MIB, MAX_EXTRA_VIFS, STORAGES } from '../../shared/domain/vm-shape.js';
import { ADDRESSED, NAMED } from './format.js';
import {
  bridgeOption,
  countOption,
  countOrMaxOption,
  dryRunOption,
  keyOption,
  listOption,
  option,
  parseCount,
  yesOption,
} from './option.js';
import { verb } from './verb.js';
import type { FleetOptions } from './fleet/fleet-apply-action.js';
import type { CloneOptions, CreateOptions } from './vm-create-action.js';
import type { LabelOptions } from './vm-label-action.js';

function diskOptions(): readonly Option[] {
  return [
    option('--storage <storage>', 'how their disks are kept; else the best that host and source offer').choices(
      STORAGES,
    ),
    countOption('--disk <mib>', 'MiB of the first disk and its file system; else as the source', 1, MAX_DISK_MIB),
    countOption('--swap <mib>', 'MiB of swap space; else as the source', 1, MAX_DISK_MIB),
    listOption('--extra-disk <mib>', 'a further disk of so many MiB, empty').argParser(addDiskSize),
    listOption('--extra-vif <bridge>', 'a further NIC on this bridge, with an address of its own').argParser(addBridge),
  ];
}

function addDiskSize(text: string, before: readonly number[] | undefined): readonly number[] {
  return [...(before ?? []), ...text.split(',').map((size) => parseCount(size, 1, MAX_DISK_MIB))];
}

function addBridge(text: string, before: readonly string[] | undefined): readonly string[] {
  const all = [...(before ?? []), ...text.split(',').map(parseBridgeName)];
  if (all.length > MAX_EXTRA_VIFS) throw new InvalidArgumentError(`There are ${String(MAX_EXTRA_VIFS)} at most.`);
  return all;
}

function sizeOptions(): readonly Option[] {
  return [
    countOption('--memory <mib>', 'MiB of each; else as the source', 16, 1_048_576),
    countOption('--vcpus <count>', 'of each; else as the source', 1, 512),
    ...diskOptions(),
    option('--reservation <reservation>', 'addresses from this reservation; else the only active one'),
  ];
}

function makeOptions(): readonly Option[] {
  return [
    ...sizeOptions(),
    keyOption('besides those in ~/.ssh'),
    option('--no-keys', 'let nobody in by ssh key but those whom the source lets in').conflicts('key'),
    bridgeOption(),
    option('--start', 'start each once it is made'),
    option('--autostart', 'have their hosts start them when they boot, while their leases are live'),
    dryRunOption('show where they would go, change nothing'),
  ];
}

function cloudOptions(): readonly Option[] {
  return [
    option('--cloud-init', 'give them a seed for cloud-init; else where it is in the image'),
    option('--no-cloud-init', 'give them none').conflicts('userData'),
  ];
}

/** Of what they boot with and what cloud-init is told: of copies too, in the place of what their source has. */
function bootOptions(): readonly Option[] {
  return [
    option('--user-data <file>', 'for cloud-init, as it is'),
    option('--kernel <path>', 'boot this kernel, a file of the dom0').conflicts('bootloader'),
    option('--ramdisk <path>', 'with this initrd, a file of the dom0'),
    option('--cmdline <text>', 'what the kernel is told'),
    option('--bootloader <name>', 'boot what is in their disk').choices([...BOOTLOADERS]),
  ];
}

function installerOptions(): readonly Option[] {
  return [
    option('--installer <program>', 'what installs them, on their hosts')
      .choices([...INSTALLERS])
      .conflicts(['like', 'image']),
    option('--dist <name>', `the distribution to install; else ${DEFAULT_DIST}`),
    option('--mirror <url>', 'install from there; else from where the packages of the host come'),
    option('--tarball <path>', 'install what is in it, a file of the dom0').conflicts('mirror'),
  ];
}

/** What is to be made and where: of create and of plan. */
function placeOptions(): readonly Option[] {
  return [
    option('--like <vm>', 'what they are copies of: the VM of that name on each host, or NAME@HOST'),
    option('--image <file|url>', 'what they are made of: an image here, or one that the controller fetches').conflicts(
      'like',
    ),
    option('--sha256 <hex>', 'what the bytes of the image must have'),
    ...installerOptions(),
    countOrMaxOption(
      '--count <count>',
      'so many, or max, as many as fit: NAME-1, NAME-2, ...; else one, called NAME',
      1,
      1_000,
    ),
    listOption('--on <hosts>', "only on these hosts, names or patterns; one without such a VM is sent another host's"),
    option('--spread', 'even over hosts and cores; the default').conflicts('pack'),
    option('--pack', 'on as few hosts as have the memory'),
    option('--apart [key]', 'those with the same value of this label on different hosts; else those of this command'),
    listOption('--label <key=value>', 'give each this label'),
  ];
}

export const PLAN_VERB = verb({
  name: 'plan',
  args: '<name>',
  about: 'where vm create would put VMs, and what limits that on each host; changes nothing',
  formats: NAMED,
  options: [...placeOptions(), ...sizeOptions()],
  examples: [
    'domherd plan web --count 40 --like domU --memory 256',
    'domherd plan db --count 3 --like domU --label role=db --apart role',
    'domherd plan web --count max --like domU -o json',
  ],
  run: async (call, args, options: CreateOptions) => (await import('./plan-action.js')).planVms(call, args, options),
});

function fileOption(): Option {
  return option('-f, --file <file>', 'YAML of groups of VMs, see docs/cli.md; - is stdin').makeOptionMandatory();
}

function pruneOption(): Option {
  return option('--prune', 'also remove VMs that this fleet made and the file does not name any more');
}

export const applyVerb = verb({
  name: 'apply',
  about: 'make, change and start VMs so that they are as a file says; doing it twice is doing it once',
  formats: ADDRESSED,
  options: [fileOption(), pruneOption(), yesOption()],
  examples: ['domherd vm apply -f fleet.yaml', 'domherd vm apply -f fleet.yaml --prune --yes'],
  run: async (call, _args, options: FleetOptions) =>
    (await import('./fleet/fleet-apply-action.js')).applyFleetFile(call, options),
});

export const diffVerb = verb({
  name: 'diff',
  about: 'what vm apply would do; changes nothing',
  formats: NAMED,
  options: [fileOption(), pruneOption()],
  examples: ['domherd vm diff -f fleet.yaml', 'domherd vm diff -f fleet.yaml --prune -o json'],
  run: async (call, _args, options: FleetOptions) =>
    (await import('./fleet/fleet-apply-action.js')).diffFleetFile(call, options),
});

export const labelVerb = verb({
  name: 'label',
  args: '<vm-or-label...>',
  about: 'give VMs labels, KEY=VALUE, or take them away, KEY-; the others stay',
  formats: ADDRESSED,
  options: [option('-a, --all', 'all VMs of all hosts')],
  examples: ['domherd vm label web-1 web-2 role=front rack=a', 'domherd vm label --all role-'],
  run: async (call, args, options: LabelOptions) =>
    (await import('./vm-label-action.js')).labelVms(call, args, options),
});

export const createVerb = verb({
  name: 'create',
  args: '<name>',
  about: 'make VMs, addressed: copies of a stopped one on its host, of an image, or installed',
  formats: ADDRESSED,
  options: [...placeOptions(), ...cloudOptions(), ...bootOptions(), ...makeOptions()],
  examples: [
    'domherd vm create web --count 40 --like domU --memory 256 --vcpus 1 --spread',
    'domherd vm create web --count 40 --like domU --pack --dry-run',
    'domherd vm create db --like domU@dom0-1 --memory 1024 --storage lvm-thin --disk 4096',
    'domherd vm create new --like domU --kernel /boot/vmlinuz-6.1.0-18-amd64 --ramdisk /boot/initrd.img-6.1.0-18-amd64',
    'domherd vm create web --count 4 --image debian-12-generic-amd64.qcow2 --memory 1024',
    'domherd vm create fresh --count 2 --installer debootstrap --disk 4096',
    'domherd vm create site --installer xen-tools --dist bullseye --disk 4096 --swap 512',
    'domherd vm create old --image root.img.gz --kernel /boot/vmlinuz-6.1.0-18-amd64 --ramdisk /boot/initrd.img-6.1.0-18-amd64',
  ],
  run: async (call, args, options: CreateOptions) =>
    (await import('./vm-create-action.js')).createVms(call, args, options),
});

export const cloneVerb = verb({
  name: 'clone',
  args: '<vm> <name>',
  about: 'make copies of a VM that is stopped, addressed, on its host or on others',
  formats: ADDRESSED,
  options: [
    countOrMaxOption(
      '--count <count>',
      'so many, or max, as many as fit: NAME-1, ...; else one, called NAME',
      1,
      1_000,
    ),
    listOption('--on <hosts>', 'on these hosts, as many on each; cfg and disks are sent there. Else on its own'),
    option('--stop-source', 'shut the VM down if it runs, and start it again when it is copied'),
    listOption('--label <key=value>', 'give each this label'),
    ...bootOptions(),
    ...makeOptions(),
  ],
  examples: [
    'domherd vm clone web-7 db --count 2',
    'domherd vm clone domU@dom0-1 gateway --on dom0-2 --memory 128',
    'domherd vm clone web-7 web-8 --stop-source',
    'domherd vm clone cloud-1 cloud-2 --user-data setup.yaml',
  ],
  run: async (call, args, options: CloneOptions) =>
    (await import('./vm-create-action.js')).cloneVms(call, args, options),
});
