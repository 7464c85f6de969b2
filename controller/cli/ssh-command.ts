import { loginOption, option } from './option.js';
import type { SshConfigActionOptions } from './vm-ssh-action.js';
import { verb } from './verb.js';

/** Its name has no noun: what it prints is ssh's. */
export const SSH_CONFIG_VERB = verb({
  name: 'ssh-config',
  args: '[vm...]',
  about: 'a configuration for ssh and scp that knows the VMs by name; all of them, or those named',
  formats: [],
  options: [
    loginOption(),
    option('--via-dom0', 'through the dom0s that host add has been at: where this machine has no route to VMs'),
  ],
  examples: [
    'domherd ssh-config > ~/.ssh/domherd && ssh -F ~/.ssh/domherd web-7',
    'domherd ssh-config --via-dom0 > ~/.ssh/domherd # with "Include domherd" in ~/.ssh/config',
  ],
  run: async (call, args, options: SshConfigActionOptions) =>
    (await import('./vm-ssh-action.js')).printSshConfig(call, args, options),
});
