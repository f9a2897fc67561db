/** tables[k][n]: what octet n does to the sum when k more octets follow it in the same step. */
const tables = Array.from({ length: 4 }, () => new Uint32Array(256));
const [t0, t1, t2, t3] = tables as [Uint32Array, Uint32Array, Uint32Array, Uint32Array];
for (let n = 0; n < 256; n++) {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  t0[n] = c;
}
for (let k = 1; k < 4; k++)
  for (let n = 0; n < 256; n++) {
    const c = (tables[k - 1] as Uint32Array)[n] as number;
    (tables[k] as Uint32Array)[n] = (c >>> 8) ^ (t0[c & 255] as number);
  }

/**
 * CRC-32 as in Ethernet and gzip (RFC 1952 section 8), as an unsigned number. `before`: the sum of what comes before
 * these octets. Four octets a step: a journal of thousands of VIPs is a megabyte.
 */
export function crc32(octets: Uint8Array, before = 0): number {
  let c = before ^ 0xffffffff;
  let i = 0;
  for (const whole = octets.length - 3; i < whole; i += 4) {
    c ^=
      (octets[i] as number) |
      ((octets[i + 1] as number) << 8) |
      ((octets[i + 2] as number) << 16) |
      ((octets[i + 3] as number) << 24);
    c =
      (t3[c & 255] as number) ^
      (t2[(c >>> 8) & 255] as number) ^
      (t1[(c >>> 16) & 255] as number) ^
      (t0[c >>> 24] as number);
  }
  for (; i < octets.length; i++) c = (t0[(c ^ (octets[i] as number)) & 255] as number) ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}
