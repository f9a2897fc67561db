/** Reads what sim/pcap.ts writes: draft-ietf-opsawg-pcapng, sections 3.1, 4.1 to 4.3. */
import assert from "node:assert/strict";

export interface CapturedFrame {
  readonly cable: string;
  readonly timeUs: number;
  readonly octets: Uint8Array;
}

export function framesOf(file: Uint8Array): readonly CapturedFrame[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const word = (at: number): number => view.getUint32(at);
  assert.deepEqual([word(0), word(8), word(12)], [0x0a0d0d0a, 0x1a2b3c4d, 0x0001_0000], "a section, big-endian, 1.0");
  const cables: string[] = [];
  const frames: CapturedFrame[] = [];
  for (let at = word(4); at < file.length; at += word(at + 4)) {
    assert.equal(word(at + word(at + 4) - 4), word(at + 4), "a block's length stands at both ends");
    if (word(at) === 1) {
      assert.deepEqual([view.getUint16(at + 8), view.getUint16(at + 16)], [1, 2], "Ethernet; its name is the option");
      cables.push(new TextDecoder().decode(file.subarray(at + 20, at + 20 + view.getUint16(at + 18))));
      continue;
    }
    assert.equal(word(at), 6);
    const [cable, length] = [cables[word(at + 8)], word(at + 20)];
    assert.ok(cable !== undefined && word(at + 24) === length);
    const octets = file.subarray(at + 28, at + 28 + length);
    frames.push({ cable, timeUs: word(at + 12) * 2 ** 32 + word(at + 16), octets });
  }
  return frames;
}
