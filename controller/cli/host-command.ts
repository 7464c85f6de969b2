import { NAMED, PLAIN } from './format.js';
import type { TokenOptions } from './host-action.js';
import { countOption, option, yesOption } from './option.js';
import { verb, type Noun } from './verb.js';

const MOST_USES = 10_000;

export const HOST: Noun = {
  name: 'host',
  about: 'the dom0s that joined',
  verbs: [
    verb({
      name: 'list',
      about: 'all hosts',
      formats: NAMED,
      examples: ['domherd host list', 'domherd host list -o name'],
      run: async (call) => (await import('./host-action.js')).listHosts(call),
    }),
    verb({
      name: 'show',
      args: '<host>',
      about: 'everything known of one host',
      formats: NAMED,
      examples: ['domherd host show dom0-1'],
      run: async (call, [name = '']) => (await import('./host-action.js')).showHost(call, name),
    }),
    verb({
      name: 'token',
      args: '<host>',
      about: 'a secret with which a host joins, alone on stdout; HOST may have * in it',
      formats: PLAIN,
      options: [
        countOption('--uses <n>', 'for so many joins; else 1', 1, MOST_USES),
        option('--ttl <duration>', 'valid for so long, 10s to 1d; else 10m'),
      ],
      examples: [
        'domherd host token dom0-1 | ssh root@dom0-1 domherd-agent join',
        "domherd host token 'dom0-*' --uses 8 --ttl 30m",
      ],
      run: async (call, [name = ''], options: TokenOptions) =>
        (await import('./host-action.js')).createToken(call, name, options),
    }),
    verb({
      name: 'revoke',
      args: '<host>',
      about: 'refuse the certificate of a host from now on; it must join anew. Its VMs are left alone',
      formats: NAMED,
      options: [yesOption()],
      examples: ['domherd host revoke dom0-1', 'domherd host revoke dom0-1 --yes'],
      run: async (call, [name = ''], options: { yes?: boolean }) =>
        (await import('./host-action.js')).revokeHost(call, name, options),
    }),
  ],
};
