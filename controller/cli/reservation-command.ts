import { NAMED } from './format.js';
import { countOption, dryRunOption, listOption, option, yesOption } from './option.js';
import type { ExtendOptions, ImportOptions } from './reservation-action.js';
import { verb, type Noun } from './verb.js';

const MOMENT = '20:00 (the next such time here), +2h30m, or 2026-03-29T20:00+02:00';

const importVerb = verb({
  name: 'import',
  args: '[file]',
  about: 'keep the addresses that the testbed gave, from a file, from stdin (-), or of an OAR job (--job)',
  formats: NAMED,
  options: [
    option('--name <name>', 'name of the reservation; else "job-N"'),
    option('--ends <time>', `when it ends: ${MOMENT}`),
    option('--starts <time>', 'when it begins, written likewise; else now'),
    option('--gateway <address>', 'of the VMs; else what the source tells'),
    countOption('--prefix <length>', 'prefix length of the VMs, on Grid5000 the 14 of the site', 1, 30),
    option('--broadcast <address>', 'of the VMs'),
    listOption('--dns <address>', 'DNS server of the VMs'),
    option('--domain <name>', 'DNS domain of the VMs'),
    listOption('--exclude <addresses>', 'address, CIDR or first-last that is never given out'),
    option('--job <id>', 'OAR job; without a file, "g5k-subnets -a -j ID" is asked'),
    option('--site <site>', 'site of the testbed'),
    option('--user <user>', 'whose reservation it is; else you'),
    dryRunOption('show what would be kept, keep nothing'),
  ],
  examples: [
    'g5k-subnets -a | domherd reservation import - --name job42 --ends 20:00',
    'domherd reservation import --job 1234567 --ends +2h30m',
    'domherd reservation import blocks.txt --name lab --ends 20:00 --gateway 10.0.0.254 --dry-run',
  ],
  run: async (call, args, options: ImportOptions) =>
    (await import('./reservation-action.js')).importReservation(call, args[0], options),
});

export const RESERVATION: Noun = {
  name: 'reservation',
  about: 'address blocks that the testbed gave for a time',
  verbs: [
    importVerb,
    verb({
      name: 'list',
      about: 'all reservations',
      formats: NAMED,
      examples: ['domherd reservation list', 'domherd reservation list -o json'],
      run: async (call) => (await import('./reservation-action.js')).listReservations(call),
    }),
    verb({
      name: 'show',
      args: '<reservation>',
      about: 'blocks, settings and counts of one reservation',
      formats: NAMED,
      examples: ['domherd reservation show job42'],
      run: async (call, [name = '']) => (await import('./reservation-action.js')).showReservation(call, name),
    }),
    verb({
      name: 'extend',
      args: '<reservation>',
      about: 'move the end of a reservation',
      formats: NAMED,
      options: [option('--ends <time>', `the new end: ${MOMENT}`).makeOptionMandatory()],
      examples: ['domherd reservation extend job42 --ends 22:00', 'domherd reservation extend job42 --ends +1h'],
      run: async (call, [name = ''], options: ExtendOptions) =>
        (await import('./reservation-action.js')).extendReservation(call, name, options),
    }),
    verb({
      name: 'delete',
      args: '<reservation>',
      about: 'forget a reservation that nobody uses any more',
      formats: [],
      options: [yesOption()],
      examples: ['domherd reservation delete job42', 'domherd reservation delete job42 --yes'],
      run: async (call, [name = ''], options: { yes?: boolean }) =>
        (await import('./reservation-action.js')).deleteReservation(call, name, options),
    }),
  ],
};
