import { ADDRESSED } from './format.js';
import { countOption, dryRunOption, durationOption, option } from './option.js';
import { verb } from './verb.js';
import type { AutostartOptions, RestartOptions, SetOptions } from './vm-set-action.js';

const allOption = () => option('-a, --all', 'all VMs of all hosts');

export const setVerb = verb({
  name: 'set',
  args: '<vm...>',
  about: 'change memory, vcpus and other keys of the cfg of VMs; at once, as far as one that runs can be changed',
  formats: ADDRESSED,
  options: [
    allOption(),
    countOption('--memory <mib>', 'as memory=MIB', 16, 1_048_576),
    countOption('--vcpus <count>', 'as vcpus=COUNT', 1, 512),
    dryRunOption(),
  ],
  examples: [
    'domherd vm set web-7 memory=512',
    'domherd vm set web-1 web-2 --memory 512 --vcpus 2',
    'domherd vm set web-7 on_crash=preserve extra="console=hvc0"',
    'domherd vm set web-7 extra=',
  ],
  run: async (call, args, options: SetOptions) => (await import('./vm-set-action.js')).setVms(call, args, options),
});

export const restartVerb = verb({
  name: 'restart',
  args: '[vm...]',
  about: 'shut VMs down and start them again, with what their cfg says now; reboot is within the guest',
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
  examples: ['domherd vm restart web-7', 'domherd vm restart --all --timeout 2m --then destroy'],
  run: async (call, args, options: RestartOptions) =>
    (await import('./vm-set-action.js')).restartVms(call, args, options),
});

export const autostartVerb = verb({
  name: 'autostart',
  args: '<on|off> [vm...]',
  about: 'have hosts start VMs when they boot, or not; only while the leases of a VM are live',
  formats: ADDRESSED,
  options: [allOption(), dryRunOption()],
  examples: ['domherd vm autostart on web-7', 'domherd vm autostart off --all'],
  run: async (call, args, options: AutostartOptions) =>
    (await import('./vm-set-action.js')).setAutostart(call, args, options),
});
