import type { LoginOptions } from './guest/guest-ssh.js';
import { loginOption } from './option.js';
import { verb } from './verb.js';

/** Its name has no noun: what it prints is ssh's. */
export const SSH_CONFIG_VERB = verb({
  name: 'ssh-config',
  args: '[vm...]',
  about: 'a configuration for ssh and scp that knows the VMs by name; all of them, or those named',
  formats: [],
  options: [loginOption()],
  examples: [
    'domherd ssh-config > ~/.ssh/domherd && ssh -F ~/.ssh/domherd web-7',
    'domherd ssh-config > ~/.ssh/domherd # with "Include domherd" in ~/.ssh/config',
  ],
  run: async (call, args, options: LoginOptions) =>
    (await import('./vm-ssh-action.js')).printSshConfig(call, args, options),
});
