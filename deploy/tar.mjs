// A tar archive with nothing in it but what was given: no times, no owners, so that equal content gives equal bytes.

const BLOCK = 512;

/**
 * @param {readonly { readonly path: string, readonly mode: number, readonly content: Buffer }[]} files paths of at most 100
 *   bytes, relative, folders before their files not needed
 * @returns {Buffer} ustar (POSIX.1-1988), with its end
 */
export function makeTar(files) {
  const blocks = files.flatMap(({ path, mode, content }) => [header(path, mode, content.length), padded(content)]);
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]);
}

function padded(content) {
  const rest = content.length % BLOCK;
  return rest === 0 ? content : Buffer.concat([content, Buffer.alloc(BLOCK - rest)]);
}

function header(path, mode, size) {
  if (Buffer.byteLength(path) > 100) throw new Error(`${path}: longer than 100 bytes`);
  const block = Buffer.alloc(BLOCK);
  const octal = (value, width) => `${value.toString(8).padStart(width - 1, '0')}\0`;
  block.write(path, 0);
  block.write(octal(mode, 8), 100);
  block.write(octal(0, 8), 108);
  block.write(octal(0, 8), 116);
  block.write(octal(size, 12), 124);
  block.write(octal(0, 12), 136);
  block.write(' '.repeat(8), 148);
  block.write('0', 156);
  block.write('ustar\x0000', 257, 'latin1');
  block.write('root', 265);
  block.write('root', 297);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}
