/** What dom0 has to start domUs with. */
export interface BootFiles {
  exists(path: string): Promise<boolean>;

  find(): Promise<{
    /** What dom0 itself runs; `undefined`: its file is not there. */
    readonly running: { readonly kernel: string; readonly ramdisk: string | undefined } | undefined;
    readonly hasPygrub: boolean;
    /** The file of GRUB built as a PV kernel; `undefined`: not installed. */
    readonly pvgrub: string | undefined;
  }>;
}
