// The package's index loads all of its 17 parts, some 10 MiB of them; the agent needs three.
declare module 'systeminformation/lib/cpu.js' {
  export { cpu } from 'systeminformation';
}
declare module 'systeminformation/lib/memory.js' {
  export { mem } from 'systeminformation';
}
declare module 'systeminformation/lib/osinfo.js' {
  export { osInfo } from 'systeminformation';
}
