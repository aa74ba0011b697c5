// Numbers in a Buffer: readUInt32BE, writeDoubleLE and their kin, made of a table.

/** Name of the kind → [bytes, DataView's name]. */
const NUMBER_KINDS = {
  UInt8: [1, 'Uint8'], Int8: [1, 'Int8'], UInt16: [2, 'Uint16'], Int16: [2, 'Int16'], UInt32: [4, 'Uint32'],
  Int32: [4, 'Int32'], Float: [4, 'Float32'], Double: [8, 'Float64'], BigInt64: [8, 'BigInt64'], BigUInt64: [8, 'BigUint64'],
};

function viewAt(buffer, at, size) {
  if (!(Number.isInteger(at) && at >= 0 && at + size <= buffer.length)) {
    const most = buffer.length - size;
    throw coded(RangeError, 'ERR_OUT_OF_RANGE', `The value of "offset" is out of range. It must be >= 0 and <= ${most}. Received ${at}`);
  }
  return new DataView(buffer.buffer, buffer.byteOffset + at, size);
}

function bounds(kind, size) {
  if (kind.startsWith('Float') || kind.startsWith('Double')) return undefined;
  const big = kind.startsWith('Big');
  const signed = kind.startsWith('Int') || kind === 'BigInt64';
  const span = big ? 1n << 64n : 2 ** (8 * size);
  const zero = big ? 0n : 0;
  const one = big ? 1n : 1;
  const half = big ? span / 2n : span / 2;
  return signed ? [zero - half, half - one] : [zero, span - one];
}

function checkedNumber(value, kind, size) {
  const range = bounds(kind, size);
  if (range !== undefined && !(value >= range[0] && value <= range[1])) {
    throw coded(RangeError, 'ERR_OUT_OF_RANGE', `The value of "value" is out of range. It must be >= ${range[0]} and <= ${range[1]}. Received ${value}`);
  }
  return value;
}

function method(name, value) {
  defineProperty(FastBuffer.prototype, name, { value, writable: true, configurable: true });
}

for (const kind of objectKeys(NUMBER_KINDS)) {
  const [size, view] = NUMBER_KINDS[kind];
  for (const order of size === 1 ? [''] : ['LE', 'BE']) {
    const little = order === 'LE';
    const read = function (at = 0) {
      return viewAt(this, at, size)[`get${view}`](0, little);
    };
    const write = function (value, at = 0) {
      const given = kind.startsWith('Big') ? value : Number(value);
      viewAt(this, at, size)[`set${view}`](0, checkedNumber(given, kind, size), little);
      return at + size;
    };
    for (const spelling of [kind, kind.replace('UInt', 'Uint')]) {
      method(`read${spelling}${order}`, read);
      method(`write${spelling}${order}`, write);
    }
  }
}

for (const order of ['LE', 'BE']) {
  for (const signed of [false, true]) {
    const read = function (at, length) {
      viewAt(this, at, length);
      let value = 0;
      for (let step = 0; step < length; step++) value = value * 256 + this[order === 'BE' ? at + step : at + length - 1 - step];
      return signed && value >= 2 ** (8 * length - 1) ? value - 2 ** (8 * length) : value;
    };
    const write = function (value, at, length) {
      viewAt(this, at, length);
      let rest = checkedNumber(Number(value), signed ? 'Int' : 'UInt', length);
      if (rest < 0) rest += 2 ** (8 * length);
      for (let step = 0; step < length; step++) {
        this[order === 'LE' ? at + step : at + length - 1 - step] = rest % 256;
        rest = floor(rest / 256);
      }
      return at + length;
    };
    for (const spelling of signed ? ['Int'] : ['UInt', 'Uint']) {
      method(`read${spelling}${order}`, read);
      method(`write${spelling}${order}`, write);
    }
  }
}
