// What the adapters in C++ share: the protocol of bench/peers/README.md around a
// library's session. A Session is what a library makes for one set-up:
//
//   using Ciphertext = …;                          copied as a value
//   explicit Session(const adapter::Needs &);      parameters of at least 128 bits, and keys
//   json about;                                    the answer to the set-up but for its capacity
//   size_t slots;
//   std::string encrypt(const Values &slots);      the client: bytes of the wire
//   Values decrypt(const std::string &bytes);
//   Ciphertext load(const std::string &bytes);     the server, which has no secret key
//   std::string store(const Ciphertext &);
//   Ciphertext add(a, b), sub(a, b), mul(a, b);    mul relinearises and rescales
//   Ciphertext mulPlain(a, Values), addPlain(a, Values), rotate(a, int k);   k slots to the left
#pragma once

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "programs.hpp"

namespace adapter {

using json = nlohmann::json;

/// What a set-up asks for.
struct Needs {
    std::string scheme; // bgv, bfv or ckks
    int depth;
    double max;
    std::vector<int> rotations;
    int threads;
    bool reals() const { return scheme == "ckks"; }
};

/// Times its life.
class Clock {
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();

  public:
    double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }
};

/// The least prime of the form k·step + 1 above twice a bound, for slots of integers.
inline uint64_t primeAbove(double max, uint64_t step) {
    for (uint64_t p = step + 1;; p += step) {
        if (double(p) <= 2 * max) continue;
        bool prime = true;
        for (uint64_t d = 3; prime && d * d <= p; d += 2) prime = p % d != 0;
        if (prime) return p;
    }
}

/// Answers requests until the end of the input.
template <class Session>
void serve(const std::string &library, const std::string &version, const std::string &build, const std::vector<std::string> &schemes) {
    std::unique_ptr<Session> session;
    std::string workload;
    bool reals = false;
    int size = 0;
    const auto describe = [&] {
        json offered = json::array();
        for (const std::string &scheme : schemes) {
            json names = json::array();
            for (const auto &[name, program] : programs())
                if (program.integers || scheme == "ckks") names.push_back(name);
            offered.push_back({{"scheme", scheme}, {"workloads", names}});
        }
        return json{{"protocol", 1}, {"library", library}, {"version", version}, {"build", build}, {"schemes", offered}};
    };
    const auto setup = [&](const json &request) {
        session.reset(); // before there are two sets of keys
        workload = request.at("workload"), size = request.at("size");
        const Program &program = programs().at(workload);
        const Needs needs{request.at("scheme"), program.depth, program.max(size), program.rotations(size), request.at("threads")};
        reals = needs.reals();
        session = std::make_unique<Session>(needs);
        json answer = session->about;
        answer["capacity"] = session->slots / program.stride(size);
        return answer;
    };
    const auto run = [&](const json &request) {
        if (!session) throw std::logic_error("no set-up");
        const Program &program = programs().at(workload);
        const size_t stride = program.stride(size), perItem = program.results(size);
        std::vector<Values> slots; // of every ciphertext
        const json &items = request.at("items");
        if (items.size() * stride > session->slots) throw std::invalid_argument("more items than a batch has");
        for (size_t i = 0; i < items.size(); i++) {
            Values in;
            for (const std::string text : items[i]) in.push_back(std::stod(text));
            const std::vector<Values> vectors = program.split(size, in);
            slots.resize(vectors.size(), Values(session->slots));
            for (size_t c = 0; c < vectors.size(); c++)
                for (size_t k = 0; k < vectors[c].size(); k++) slots[c][i * stride + k] = vectors[c][k] / (reals ? std::exp2(program.bits) : 1);
        }

        const Clock encrypting;
        std::vector<std::string> sent;
        for (const Values &v : slots) sent.push_back(session->encrypt(v));
        const double encrypt = encrypting.seconds();

        std::vector<typename Session::Ciphertext> in;
        for (const std::string &bytes : sent) in.push_back(session->load(bytes));
        Vectors<Session> vectors{*session, int(stride), reals};
        const Clock computing;
        const auto out = vectors.compute(workload, size, in);
        const double compute = computing.seconds();
        std::vector<std::string> received;
        for (const auto &c : out) received.push_back(session->store(c));

        const Clock decrypting;
        json results = json::array();
        for (size_t i = 0; i < items.size(); i++) results.push_back(json::array());
        for (size_t c = 0; c < received.size(); c++) {
            const Values got = session->decrypt(received[c]);
            for (size_t i = 0; i < items.size(); i++)
                for (size_t v = 0; v < perItem; v++)
                    results[i].push_back(std::to_string(std::llround(got.at(i * stride + v) * (reals ? program.unit(c) : 1))));
        }
        const double decrypt = decrypting.seconds();
        const auto total = [](const std::vector<std::string> &all) {
            size_t n = 0;
            for (const std::string &bytes : all) n += bytes.size();
            return n;
        };
        return json{{"results", results}, {"seconds", {{"encrypt", encrypt}, {"compute", compute}, {"decrypt", decrypt}}},
                    {"request_bytes", total(sent)}, {"response_bytes", total(received)}, {"bootstraps", 0}};
    };
    for (std::string line; std::getline(std::cin, line);) {
        json answer;
        try {
            const json request = json::parse(line);
            const std::string command = request.at("command");
            if (command == "describe") answer = describe();
            else if (command == "setup") answer = setup(request);
            else if (command == "run") answer = run(request);
            else throw std::invalid_argument("there is no command " + command);
        } catch (const std::exception &e) {
            answer = {{"error", e.what()}};
        }
        std::cout << answer.dump() << std::endl;
    }
}

} // namespace adapter
