import { ADDRESSED, PLAIN } from './format.js';
import type { AcquireOptions, LeaseListOptions, ReleaseOptions } from './lease-action.js';
import { countOption, option, yesOption } from './option.js';
import { verb, type Noun } from './verb.js';

const LEASE_STATES = ['pending', 'bound', 'quarantined', 'declined', 'expired'];
const RESERVATION = '--reservation <reservation>';
const MOST_CLAIMS = 4096;

export const LEASE: Noun = {
  name: 'lease',
  about: 'addresses and MACs, and who has them',
  verbs: [
    verb({
      name: 'list',
      about: 'all leases, by address',
      formats: ADDRESSED,
      options: [
        option(RESERVATION, 'only of this reservation'),
        option('--state <state>', 'only in this state').choices(LEASE_STATES),
        option('-w, --watch', 'then follow the changes, until Ctrl-C'),
      ],
      examples: ['domherd lease list', 'domherd lease list --state bound -o ips', 'domherd lease list --watch'],
      run: async (call, _args, options: LeaseListOptions) =>
        (await import('./lease-action.js')).listLeases(call, options),
    }),
    verb({
      name: 'next',
      args: '[count]',
      about: 'the addresses that would be given next; takes none of them',
      formats: [...PLAIN, 'ips'],
      options: [option(RESERVATION, 'of this reservation; else the only active one')],
      examples: ['domherd lease next 3', 'domherd lease next -o ips'],
      run: async (call, [count = '1'], options: { reservation?: string }) =>
        (await import('./lease-action.js')).nextAddresses(call, count, options),
    }),
    verb({
      name: 'history',
      args: '<address|mac|name>',
      about: 'everything that happened to an address, a MAC, an owner or a VM, oldest first',
      formats: PLAIN,
      examples: ['domherd lease history 10.180.0.7', 'domherd lease history domU@dom0-1'],
      run: async (call, [subject = '']) => (await import('./lease-action.js')).leaseHistory(call, subject),
    }),
    verb({
      name: 'acquire',
      args: '<name>',
      about: 'take an address for something that is no VM of domherd; asked again, the same name gets the same',
      formats: ADDRESSED,
      options: [
        option('--address <address>', 'this one; else the next free one'),
        option('--mac <mac>', 'with this MAC; else 00:16:3e and the last three octets of the address'),
        option(RESERVATION, 'from this reservation; else the only active one'),
        countOption('--count <n>', 'take N, for the names NAME-1 to NAME-N', 1, MOST_CLAIMS),
      ],
      examples: ['domherd lease acquire gateway-test', 'domherd lease acquire web --count 3 -o ips'],
      run: async (call, [name = ''], options: AcquireOptions) =>
        (await import('./lease-action.js')).acquireLeases(call, name, options),
    }),
    verb({
      name: 'release',
      args: '<address...>',
      about: 'give addresses back; each rests before it is given again',
      formats: ADDRESSED,
      options: [yesOption(), option('--force', 'although a VM is seen running on it; recorded as an event')],
      examples: ['domherd lease release 10.180.0.7', 'domherd lease release 10.180.0.7 10.180.0.8 --yes'],
      run: async (call, args, options: ReleaseOptions) =>
        (await import('./lease-action.js')).releaseLeases(call, args, options),
    }),
  ],
};
