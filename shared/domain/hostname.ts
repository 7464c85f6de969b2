/** What a guest may be called after a domU: a domU's name may hold characters that no hostname has. */
export function hostnameFor(vmName: string): string | undefined {
  return /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i.test(vmName) ? vmName : undefined;
}
