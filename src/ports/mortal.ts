import type { ApplyPorts } from "./apply.ts";

/** How long a run has to live, in calls. */
export interface Life {
  /** The next call is the one it dies at. */
  isLast(): boolean;
  /** Before and after the work of each call. Where the run dies, this does not return. */
  burn(): void;
}

/** A run of vipward that is killed at one of its calls: the same count wherever the work is done. */
export function mortal(ports: ApplyPorts, { isLast, burn }: Life): ApplyPorts {
  const { performer, reader, journal } = ports;
  return {
    ...ports,
    performer: {
      perform: async (operations) => {
        for (const operation of operations) {
          burn();
          await performer.perform([operation]);
          burn();
        }
      },
    },
    reader: {
      read: async (paths) => {
        burn();
        return reader.read(paths);
      },
    },
    journal: {
      load: () => journal.load(),
      append: async (octets) => {
        // the half that a power cut leaves of a record
        if (isLast()) await journal.append(octets.slice(0, octets.length >> 1));
        burn();
        await journal.append(octets);
        burn();
      },
      replace: async (octets) => {
        burn();
        await journal.replace(octets);
        burn();
      },
    },
  };
}
