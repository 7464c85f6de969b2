import type { Option } from 'commander';
import { MAX_DISK_MIB, STORAGES } from '../../shared/domain/vm-shape.js';
import { ADDRESSED } from './format.js';
import { bridgeOption, countOption, dryRunOption, keyOption, listOption, option, parseCount } from './option.js';
import { verb } from './verb.js';
import type { CreateOptions } from './vm-create-action.js';

function diskOptions(): readonly Option[] {
  return [
    option('--storage <storage>', 'how their disks are kept; else the best that host and source offer').choices(
      STORAGES,
    ),
    countOption('--disk <mib>', 'MiB of the first disk and its file system; else as the source', 1, MAX_DISK_MIB),
    countOption('--swap <mib>', 'MiB of swap space; else as the source', 1, MAX_DISK_MIB),
    listOption('--extra-disk <mib>', 'a further disk of so many MiB, empty').argParser(addDiskSize),
  ];
}

function addDiskSize(text: string, before: readonly number[] | undefined): readonly number[] {
  return [...(before ?? []), ...text.split(',').map((size) => parseCount(size, 1, MAX_DISK_MIB))];
}

function sizeOptions(): readonly Option[] {
  return [
    countOption('--memory <mib>', 'MiB of each; else as the source', 16, 1_048_576),
    countOption('--vcpus <count>', 'of each; else as the source', 1, 512),
    ...diskOptions(),
    keyOption('besides those in ~/.ssh'),
    option('--no-keys', 'let nobody in by ssh key but those whom the source lets in').conflicts('key'),
    option('--reservation <reservation>', 'addresses from this reservation; else the only active one'),
    bridgeOption(),
    dryRunOption('show where they would go, change nothing'),
  ];
}

export const createVerb = verb({
  name: 'create',
  args: '<name>',
  about: 'make VMs, addressed, each a copy of a stopped one on its host',
  formats: ADDRESSED,
  options: [
    option(
      '--like <vm>',
      'what they are copies of: the VM of that name on each host, or NAME@HOST',
    ).makeOptionMandatory(),
    countOption('--count <count>', 'so many: NAME-1, NAME-2, ...; else one, called NAME', 1, 1_000),
    listOption('--on <hosts>', 'only on these hosts'),
    option('--spread', 'as many on each host; the default').conflicts('pack'),
    option('--pack', 'on as few hosts as have the memory'),
    ...sizeOptions(),
  ],
  examples: [
    'domherd vm create web --count 40 --like domU --memory 256 --vcpus 1 --spread',
    'domherd vm create web --count 40 --like domU --pack --dry-run',
    'domherd vm create db --like domU@dom0-1 --memory 1024 --storage lvm-thin --disk 4096',
  ],
  run: async (call, args, options: CreateOptions) =>
    (await import('./vm-create-action.js')).createVms(call, args, options),
});

export const cloneVerb = verb({
  name: 'clone',
  args: '<vm> <name>',
  about: 'make copies of a VM that is stopped, addressed, on its host',
  formats: ADDRESSED,
  options: [
    countOption('--count <count>', 'so many: NAME-1, NAME-2, ...; else one, called NAME', 1, 1_000),
    ...sizeOptions(),
  ],
  examples: ['domherd vm clone web-7 db --count 2', 'domherd vm clone domU@dom0-1 gateway --memory 128'],
  run: async (call, args, options: CreateOptions) =>
    (await import('./vm-create-action.js')).cloneVms(call, args, options),
});
