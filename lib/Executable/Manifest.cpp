//===- Manifest.cpp - the JSON part of an executable ----------------------===//
// One list of fields per struct serves both directions (fields() below), so that writer and reader cannot drift apart.
// Doubles that JSON cannot hold are the strings "inf", "-inf" and "nan". Attributes carry their type: ["f", 1.0].
//===----------------------------------------------------------------------===//
#include "Manifest.h"
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

namespace comm::exe {
namespace {
using Json = nlohmann::json;

constexpr int maxDepth = 12; // the deepest path is entries[].split.commands[].attrs.x[1][]
constexpr size_t maxMessageText = 120;

[[noreturn]] void fail(const std::string &path, const std::string &what) {
  throw std::runtime_error("manifest" + (path.empty() ? "" : " at '" + path + "'") + ": " + what);
}

//===--- writing ----------------------------------------------------------===//
struct Writer {
  Json json = Json::object();
  template <class T> void operator()(const char *key, T &value) { json[key] = put(value); }

  /// Left out when empty.
  void optional(const char *key, std::string &value) {
    if (!value.empty())
      json[key] = value;
  }
  template <class T> void optional(const char *key, std::vector<T> &list) {
    if (!list.empty())
      json[key] = put(list);
  }

  static Json put(const std::string &s) { return s; }
  static Json put(int64_t v) { return v; }
  static Json put(int32_t v) { return v; }
  static Json put(DType t) { return dtypeName(t); }
  static Json put(Storage s) {
    static const char *const names[] = {"arena", "weight", "input", "output"};
    return names[static_cast<size_t>(s) & 3];
  }
  static Json put(double v) {
    if (std::isnan(v))
      return "nan";
    if (std::isinf(v))
      return v < 0 ? "-inf" : "inf";
    return v;
  }
  static Json put(const Attr &a) {
    static const char *const tags[] = {"i", "f", "s", "is", "ss"};
    return Json::array({tags[a.index()], std::visit([](const auto &v) { return put(v); }, a)});
  }
  template <class T> static Json put(const std::vector<T> &list) {
    Json out = Json::array();
    for (const T &item : list)
      out.push_back(put(item));
    return out;
  }
  template <class T> static Json put(const std::map<std::string, T> &map) {
    Json out = Json::object();
    for (const auto &[key, value] : map)
      out[key] = put(value);
    return out;
  }
  template <class T> static Json put(const T &record);
};

//===--- reading ----------------------------------------------------------===//
struct Reader {
  const Json &json;
  const std::string &path;
  size_t seen = 0;

  template <class T> void operator()(const char *key, T &value) {
    auto it = json.find(key);
    if (it == json.end())
      fail(path, std::string("key '") + key + "' is missing");
    ++seen;
    get(*it, path.empty() ? key : path + "." + key, value);
  }

  template <class T> void optional(const char *key, T &value) {
    if (json.contains(key))
      (*this)(key, value);
  }

  static void get(const Json &j, const std::string &path, std::string &out) {
    if (!j.is_string())
      fail(path, "expected a string");
    out = j.get_ref<const std::string &>();
  }
  static void get(const Json &j, const std::string &path, int64_t &out) {
    if (!j.is_number_integer())
      fail(path, "expected an integer");
    if (j.is_number_unsigned() && j.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      fail(path, "the integer does not fit 64 bits");
    out = j.get<int64_t>();
  }
  static void get(const Json &j, const std::string &path, int32_t &out) {
    int64_t wide;
    get(j, path, wide);
    if (wide < std::numeric_limits<int32_t>::min() || wide > std::numeric_limits<int32_t>::max())
      fail(path, "the integer does not fit 32 bits");
    out = static_cast<int32_t>(wide);
  }
  static void get(const Json &j, const std::string &path, double &out) {
    if (j.is_number())
      out = j.get<double>();
    else if (j == "inf")
      out = HUGE_VAL;
    else if (j == "-inf")
      out = -HUGE_VAL;
    else if (j == "nan")
      out = std::numeric_limits<double>::quiet_NaN();
    else
      fail(path, "expected a number");
  }
  static void get(const Json &j, const std::string &path, DType &out) {
    std::string name;
    get(j, path, name);
    if (!parseDType(name, out))
      fail(path, "unknown element type");
  }
  static void get(const Json &j, const std::string &path, Storage &out) {
    if (j == "arena")
      out = Storage::Arena;
    else if (j == "weight")
      out = Storage::Weight;
    else if (j == "input")
      out = Storage::Input;
    else if (j == "output")
      out = Storage::Output;
    else
      fail(path, "unknown storage");
  }
  template <class T> static Attr attrOf(const Json &j, const std::string &path) {
    T value{};
    get(j, path, value);
    return value;
  }
  static void get(const Json &j, const std::string &path, Attr &out) {
    if (!j.is_array() || j.size() != 2 || !j[0].is_string())
      fail(path, "expected [type, value]");
    const auto &tag = j[0].get_ref<const std::string &>();
    if (tag == "i")
      out = attrOf<int64_t>(j[1], path);
    else if (tag == "f")
      out = attrOf<double>(j[1], path);
    else if (tag == "s")
      out = attrOf<std::string>(j[1], path);
    else if (tag == "is")
      out = attrOf<std::vector<int64_t>>(j[1], path);
    else if (tag == "ss")
      out = attrOf<std::vector<std::string>>(j[1], path);
    else
      fail(path, "unknown attribute type");
  }
  template <class T> static void get(const Json &j, const std::string &path, std::vector<T> &out) {
    if (!j.is_array())
      fail(path, "expected a list");
    out.resize(j.size());
    for (size_t i = 0; i < j.size(); ++i)
      get(j[i], path + "[" + std::to_string(i) + "]", out[i]);
  }
  template <class T> static void get(const Json &j, const std::string &path, std::map<std::string, T> &out) {
    if (!j.is_object())
      fail(path, "expected an object");
    for (const auto &[key, value] : j.items())
      get(value, path + "." + key.substr(0, maxMessageText), out[key]);
  }
  template <class T> static void get(const Json &j, const std::string &path, T &record);
};

//===--- the fields of every struct ---------------------------------------===//
template <class V> void fields(V &v, Axis &a) { v("name", a.name), v("size", a.size); }
template <class V> void fields(V &v, Grid &g) { v("axes", g.axes); }
template <class V> void fields(V &v, Split &s) { v("axes", s.axes), v("grain", s.grain); }
template <class V> void fields(V &v, Layout &l) { v("dims", l.dims); }
template <class V> void fields(V &v, Slice &s) { v("dim", s.dim), v("start", s.start), v("size", s.size); }
template <class V> void fields(V &v, Weight &w) {
  v("name", w.name), v("file", w.file), v("offset", w.offset), v("dtype", w.dtype), v("shape", w.shape),
      v("slices", w.slices);
  v("layout", w.layout);
}
template <class V> void fields(V &v, WeightFile &f) { v("path", f.path), v("bytes", f.bytes), v("sha256", f.sha256); }
template <class V> void fields(V &v, Value &x) {
  v("storage", x.storage), v("index", x.index), v("offset", x.offset), v("dtype", x.dtype), v("shape", x.shape),
      v("name", x.name);
}
template <class V> void fields(V &v, Command &c) {
  v("op", c.op), v("inputs", c.inputs), v("outputs", c.outputs), v("attrs", c.attrs), v("label", c.label);
}
template <class V> void fields(V &v, PadDim &p) { v("dim", p.dim), v("symbol", p.symbol), v("offset", p.offset); }
template <class V> void fields(V &v, PadSymbol &p) {
  v("name", p.name), v("size", p.size), v("least", p.least), v("input", p.input);
}
template <class V> void fields(V &v, Port &p) {
  v("name", p.name), v("dtype", p.dtype), v("shape", p.shape), v("layout", p.layout), v("value", p.value);
  v.optional("fixed", p.fixed);
  v.optional("pads", p.pads);
}
template <class V> void fields(V &v, Program &p) {
  v("grid", p.grid), v("arena_bytes", p.arenaBytes), v("comm_bytes", p.commBytes), v("values", p.values),
      v("commands", p.commands);
  v("inputs", p.inputs), v("outputs", p.outputs);
}
template <class V> void fields(V &v, StatePair &s) { v("input", s.input), v("output", s.output); }
template <class V> void fields(V &v, Certificate &c) {
  v("version", c.version), v("order", c.order), v("matching", c.matching), v("peak_bytes", c.peakBytes),
      v("equal", c.equal);
}
template <class V> void fields(V &v, Entry &e) {
  v("name", e.name), v("split", e.split), v("reference", e.reference), v("states", e.states),
      v("certificate", e.certificate);
  v.optional("pads", e.pads);
}
template <class V> void fields(V &v, TensorType &t) { v("dtype", t.dtype), v("shape", t.shape); }
template <class V> void fields(V &v, KernelStep &s) {
  v("op", s.op), v("operands", s.operands), v("attrs", s.attrs), v("dtype", s.dtype), v("shape", s.shape);
}
template <class V> void fields(V &v, Kernel &k) {
  v("symbol", k.symbol), v("inputs", k.inputs), v("steps", k.steps), v("outputs", k.outputs);
}
struct ObjectHeader {
  std::string isa;
  int64_t bytes = 0;
};
template <class V> void fields(V &v, ObjectHeader &o) { v("isa", o.isa), v("bytes", o.bytes); }
struct Root {
  Executable &exe;
  std::vector<ObjectHeader> objects;
  int64_t dataBytes = 0;
};
template <class V> void fields(V &v, Root &r) {
  Executable &e = r.exe;
  v("compiler_version", e.compilerVersion), v("options", e.options), v("model_name", e.modelName),
      v("model_sha256", e.modelSha256);
  v("files", e.files), v("weights", e.weights), v("entries", e.entries), v("kernels", e.kernels),
      v("final_ir", e.finalIR), v("explain", e.explain);
  v("predictions", e.predictions), v("objects", r.objects), v("data_bytes", r.dataBytes);
}

template <class T> Json Writer::put(const T &record) {
  Writer w;
  fields(w, const_cast<T &>(record)); // fields() also fills records when it reads; a Writer only looks
  return std::move(w.json);
}
template <class T> void Reader::get(const Json &j, const std::string &path, T &record) {
  if (!j.is_object())
    fail(path, "expected an object");
  Reader r{j, path};
  fields(r, record);
  if (r.seen == j.size())
    return;
  Writer known; // the same list names the keys that this version knows
  fields(known, record);
  for (const auto &[key, value] : j.items())
    if (!known.json.contains(key))
      fail(path, "unknown key '" + key.substr(0, maxMessageText) + "'");
}

/// Builds the document, refusing what a strict reader must not see twice or too deep.
Json parseStrict(const char *text, size_t size) {
  std::vector<std::set<std::string>> keys;
  auto guard = [&](int depth, Json::parse_event_t event, Json &parsed) {
    if (depth > maxDepth)
      fail("", "nested deeper than " + std::to_string(maxDepth) + " levels");
    if (event == Json::parse_event_t::object_start)
      keys.emplace_back();
    else if (event == Json::parse_event_t::object_end)
      keys.pop_back();
    else if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get_ref<const std::string &>()).second)
      fail("",
           "key '" + parsed.get_ref<const std::string &>().substr(0, maxMessageText) + "' appears twice in one object");
    return true;
  };
  return Json::parse(text, text + size, guard);
}
} // namespace

bool writeManifest(const Executable &exe, std::string &out, std::string &error) {
  Root root{const_cast<Executable &>(exe), {}, static_cast<int64_t>(exe.data.size())}; // only read, see Writer::put
  for (const NativeObject &o : exe.objects)
    root.objects.push_back({o.isa, static_cast<int64_t>(o.bytes.size())});
  try {
    out = Writer::put(root).dump();
    return true;
  } catch (const Json::exception &) {
    error = "a name or text in the program is not valid UTF-8";
    return false;
  }
}

bool readManifest(const char *text, size_t size, Executable &out, SectionSizes &sizes, std::string &error) {
  try {
    Json json = parseStrict(text, size);
    Root root{out, {}, 0};
    Reader::get(json, "", root);
    sizes.data = root.dataBytes;
    for (ObjectHeader &o : root.objects) {
      sizes.objects.push_back(o.bytes);
      out.objects.push_back({std::move(o.isa), {}});
    }
    return true;
  } catch (const Json::exception &e) {
    error = "manifest is not valid JSON (" + std::string(e.what()).substr(0, maxMessageText) + ")";
  } catch (const std::exception &e) {
    error = e.what();
  }
  return false;
}

} // namespace comm::exe
