const table = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

/** CRC-32 as in Ethernet and gzip (RFC 1952 section 8), as an unsigned number. */
export function crc32(octets: Uint8Array): number {
  let c = 0xffffffff;
  for (const octet of octets) c = (table[(c ^ octet) & 255] as number) ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}
