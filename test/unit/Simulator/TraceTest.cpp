//===- TraceTest.cpp - simulated traces look like the runtime's -----------===//
#include "runtime/Core/Trace.h"
#include "SimTest.h"
#include <nlohmann/json.hpp>
#include <set>

namespace comm::test {
namespace {
using Json = nlohmann::json;

SimBuilder sample(std::vector<Axis> axes) {
  SimBuilder b(std::move(axes));
  b.compute(10);
  b.program.commands.back().label = "a \"quoted\"\nname";
  int64_t t = b.begin(7);
  b.compute(4);
  b.wait(t);
  return b;
}

std::string traceOf(const Program &program, int64_t maxRanks = 64) {
  sim::SimOptions options;
  options.events = true;
  return sim::simulatedTrace(program, "m", simulateOk(program, {}, options), maxRanks);
}

/// Kind of event -> its fields.
std::set<std::string> fieldsOf(const Json &trace) {
  std::set<std::string> fields;
  for (const Json &e : trace.at("traceEvents"))
    for (const auto &[key, value] : e.items())
      fields.insert(e.at("ph").get<std::string>() + e.value("cat", "") + "." + key + ":" + value.type_name());
  return fields;
}

TEST(SimTrace, SameFieldsAsTheRuntime) {
  SimBuilder b = sample({{"tp", 2}});
  Json simulated = Json::parse(traceOf(b.program));
  // What the runtime records of the same program.
  std::vector<rt::TraceEvent> events = {{rt::TraceKind::Compute, 0, 1000, 11000},
                                        {rt::TraceKind::Compute, 2, 11000, 15000},
                                        {rt::TraceKind::Collective, 1, 11000, 18000, 11000},
                                        {rt::TraceKind::Wait, 1, 15000, 18000, 11000}};
  Json measured = Json::parse(rt::chromeTrace(b.program, "m", {events, events}));
  EXPECT_EQ(fieldsOf(simulated), fieldsOf(measured));
  EXPECT_EQ(simulated.at("traceEvents").size(), measured.at("traceEvents").size());
}

TEST(SimTrace, TimesAreThoseOfTheRun) {
  SimBuilder b = sample({{"tp", 2}});
  Json trace = Json::parse(traceOf(b.program));
  double exposed = 0, communication = 0, end = 0;
  for (const Json &e : trace.at("traceEvents")) {
    if (e.at("ph") != "X" || e.at("pid") != 1)
      continue;
    double ts = e.at("ts"), dur = e.at("dur");
    end = std::max(end, ts + dur);
    exposed += e.at("cat") == "exposed" ? dur : 0;
    communication += e.at("cat") == "communication" ? dur : 0;
  }
  EXPECT_DOUBLE_EQ(end, 17);
  EXPECT_DOUBLE_EQ(exposed, 3);
  EXPECT_DOUBLE_EQ(communication, 7);
}

// Waiting for a slow rank is not waiting for the link.
TEST(SimTrace, LateIsNotExposed) {
  SimBuilder b;
  b.compute(10);
  b.sync(3);
  sim::SimOptions options;
  options.events = true;
  options.slowRanks = {{1, 2.0}};
  Json trace = Json::parse(sim::simulatedTrace(b.program, "m", simulateOk(b.program, {}, options)));
  std::map<std::string, double> first; // compute of rank 0, by category
  for (const Json &e : trace.at("traceEvents"))
    if (e.at("ph") == "X" && e.at("pid") == 0 && e.at("tid") == 0)
      first[e.at("cat").get<std::string>()] += e.at("dur").get<double>();
  EXPECT_DOUBLE_EQ(first["late"], 10);
  EXPECT_DOUBLE_EQ(first["exposed"], 3);
}

TEST(SimTrace, SameInputSameBytes) {
  SimBuilder b = sample({{"tp", 2}});
  EXPECT_EQ(traceOf(b.program), traceOf(b.program));
}

TEST(SimTrace, ManyRanksShowOneOfEachKind) {
  SimBuilder b = sample({{"dp", 500}, {"tp", 2}});
  Json trace = Json::parse(traceOf(b.program));
  std::set<int64_t> ranks;
  for (const Json &e : trace.at("traceEvents"))
    ranks.insert(e.at("pid").get<int64_t>());
  EXPECT_EQ(ranks, (std::set<int64_t>{0}));
}

} // namespace
} // namespace comm::test
