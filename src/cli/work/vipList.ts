/** VIPs as people write them: 10.0.0.1, 10.0.0.1-10.0.0.9, 10.0.0.0/28, in arguments or in a file. Pure. */
import { type Ipv4, ipv4FromNumber, parseIpv4 } from "../../base/ipv4.ts";
import { lastOf, networkOf, parsePrefix } from "../../base/prefix.ts";
import { bad, good, type Result } from "../../base/result.ts";

/** More would be a scan of a network, not a question about VIPs. */
export const MOST_VIPS = 65_536;
export const LARGEST_FILE_OCTETS = 4 << 20;

interface Range {
  readonly first: number;
  readonly last: number;
}

function rangeOf(text: string): Result<Range> {
  const [from, to, ...rest] = text.split("-");
  if (to !== undefined && rest.length === 0) {
    const first = parseIpv4(from ?? "");
    const last = parseIpv4(to);
    if (first === undefined || last === undefined) return bad(`"${text}" is not a range such as 10.0.0.10-10.0.0.20`);
    return first <= last ? good({ first, last }) : bad(`the range ${text} ends before it begins`);
  }
  const prefix = parsePrefix(text);
  if (prefix === undefined) return bad(`"${text}" is not an IPv4 address, range or prefix`);
  const first = networkOf(prefix);
  const last = lastOf(prefix);
  // Network and broadcast address belong to nobody, and no host answers for them.
  return good(prefix.length < 31 ? { first: first + 1, last: last - 1 } : { first, last });
}

/** Every address once, in the order given. The error is one sentence. */
export function expandVips(texts: readonly string[]): Result<Ipv4[]> {
  const vips = new Set<Ipv4>();
  for (const text of texts) {
    const range = rangeOf(text);
    if (!range.ok) return range;
    const { first, last } = range.value;
    if (last - first + 1 > MOST_VIPS) return bad(`${text} is ${last - first + 1} addresses; ${MOST_VIPS} at most`);
    for (let n = first; n <= last; n++) vips.add(ipv4FromNumber(n));
    if (vips.size > MOST_VIPS) return bad(`more than ${MOST_VIPS} addresses in all`);
  }
  return good([...vips]);
}

export interface ListProblem {
  readonly line: number;
  readonly why: string;
}

/** The words of a file: separated by blanks, commas or ends of line; # begins a comment. At most ten problems are told. */
export function readVipList(content: string): { readonly texts: string[]; readonly problems: ListProblem[] } {
  const texts: string[] = [];
  const problems: ListProblem[] = [];
  for (const [index, line] of content.split(/\r?\n/).entries()) {
    const words = line
      .replace(/#.*/, "")
      .split(/[\s,]+/)
      .filter((w) => w !== "");
    for (const word of words) {
      const range = rangeOf(word.slice(0, 80));
      if (range.ok) texts.push(word);
      else if (problems.length < 10) problems.push({ line: index + 1, why: range.why });
    }
  }
  return { texts, problems };
}
